// Package inbound bounds the resources of the process that the clients of one listener
// can use: connections (and so file descriptors), memory that is held for incomplete
// requests or unread answers, and the time that either may last.
//
// Each listener has its own bounds, so a flood of one never takes from another. At the
// bound the connections that serve no call go first: those that never sent a complete
// request, then those that were quiet longest. A client that sends whole requests and
// reads its answers keeps its connection and is answered.
//
// A [Listener] counts connections and knows HTTP/1 by [Listener.Guard]. For gRPC,
// [Listener.Options] reads the frames of HTTP/2 as they pass, since grpc-go itself
// bounds streams and messages for each connection only: connections times streams
// times messages is more than any process has.
//
// It knows nothing about checks, keys or the identity of a client: TLS and network
// policies are responsible for that.
package inbound
