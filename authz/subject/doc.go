// Package subject defines what the id of a user and the name of a key may be, and
// when two ids are the same one. Ids decide: upstreams compare them byte by
// byte, people by what they see, gateways trim the blanks around a header's
// value. So an id that one of them reads differently from another is refused,
// and what Unicode calls equivalent is stored in one form (NFC).
//
// It decides nothing about the use of an id, and changes nothing that is
// stored already: look-ups find such ids by [Forms], and `extauthz keys check`
// reports them.
package subject
