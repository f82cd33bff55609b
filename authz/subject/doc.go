// Package subject defines which user ids and key names are valid, and when two ids are
// equal. Access depends on ids: upstreams compare them byte by byte, people by what they
// see, gateways trim the blanks around a header's value. So an id that two of them could
// read differently is refused, and texts that Unicode calls equivalent are stored in one
// form (NFC).
//
// It decides nothing about the use of an id, and changes no stored id. Look-ups find ids
// that were stored in another form by [Forms], and `extauthz keys check` reports those
// that would be refused or changed today.
package subject
