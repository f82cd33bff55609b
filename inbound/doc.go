// Package inbound bounds the resources of the process that the clients of one listener
// can use: connections (and so file descriptors), memory that is held for incomplete
// requests or unread answers, and the time that either may last.
//
// Each listener has its own bounds, so a flood of one never takes from another. At the
// bound, connections that serve no call are closed first: those that never sent a
// complete request, then those that were quiet longest. A client that sends whole
// requests and reads its answers keeps its connection and is answered.
//
// A [Listener] counts connections. For HTTP/1, [Listener.Guard] counts the heads of
// requests. For gRPC, [Listener.Options] reads the frames of HTTP/2 as they pass. grpc-go
// itself bounds streams and messages for each connection only, and connections times
// streams times messages is more memory than any process has.
//
// It knows nothing about checks, keys or the identity of a client: TLS and network
// policies are responsible for that.
package inbound
