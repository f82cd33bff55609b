package main

import "regexp"

// rule is a word, or a few of one meaning, and what is written instead.
type rule struct {
	word  *regexp.Regexp
	allow *regexp.Regexp // phrases in which the word is plain English, or nil
	write string
}

func words(pattern string) *regexp.Regexp { return regexp.MustCompile(`(?i)\b(` + pattern + `)\b`) }

// rules are applied to names, comments and texts without regard to case.
var rules = []rule{
	{words(`told|tells?|telling`), nil, `"returns", "reports", "logs", "prints", "sends"; "distinguishes" for "tells apart"`},
	{words(`proved|proves?|proving`), nil, `"verified", "verifies" (keys), "shows", "tested" (facts)`},
	{words(`(dis)?believe[sd]?|believing`), nil, `"trusted", "accepted", or "rejected"`},
	{words(`door ?bells?|bells?|rings?|rang|rung|ringing`), words(`ring buffers?|ring-buffers?`), `"change notification", "notifies", "wakes"`},
	{words(`trials?`), words(`trial[- ](values|installations?|chart)|trial\.yaml`), `"shadow mode"`},
	{words(`would be denied`), nil, `"shadow mode" (its finding: "denied if enforced")`},
	{words(`absences`), nil, `"negative entries", "negative cache"`},
	{words(`leases? (holds|held|stands|stood)`), nil, `"the lease is fresh", "within max_stale"`},
	{words(`rooms?`), words(`(no|enough|has|have|had|is|makes?|leaves?|much|more) room|room (for|in|to|left|of)`), `"package", or "scratch buffer"`},
	{words(`(un)?vouch(es|ed)?`), nil, `"loaded outside the lease"`},
	{words(`hears?|heard|hearsay`), nil, `"receives", "received"`},
	{words(`had back|content again|(is|are|was|be) well`), nil, `"reclaimed", "recovered", "healthy"`},
	{words(`(goes|go|going|went) round`), nil, `"bypasses", "connects directly"`},
	{words(`mend(s|ed|ing)?`), nil, `"fix"`},
	{words(`stands|stood`), words(`stands (for|in for)|stood in for`), `"is", "is written", "is stored"`},
	{words(`lies|lay`), nil, `"is", "is stored"`},
	{words(`whoever|who asks|nobody|somebody|anybody|everybody`), nil, `the actor: "the caller", "the client", "the replica", "no client"`},
	{words(`the very \w+`), nil, `"identical", "the same"`},
	{words(`floors?`), words(`math\.Floor`), `"baseline" (benchmarks), "minimum"`},
	{words(`(odd|hostile) paths?`), nil, `"ambiguous path"`},
	{words(`good keys?`), nil, `"valid key"`},
	{words(`hand(s|ed|ing)? (over|out)`), nil, `"issues", "passes"`},
}
