package main

import "regexp"

// rule is a pattern for one word, or for several with the same meaning, with the
// replacement.
type rule struct {
	word   *regexp.Regexp
	allow  *regexp.Regexp // phrases in which the word is plain English, or nil
	write  string
	except *regexp.Regexp // files in which the word has its plain meaning, or nil
}

func words(pattern string) *regexp.Regexp { return regexp.MustCompile(`(?i)\b(` + pattern + `)\b`) }

// trialInstallation matches the files about an installation for a trial, with a
// throw-away database. There "trial" has its plain meaning.
var trialInstallation = regexp.MustCompile(`^(helm/|e2e/(chart|nodes|testdata|compose)/|docs/(kubernetes|deployment)|README\.md|compose\.yaml|scripts/(image|stand-ins)|Dockerfile|e2e/echo/)`)

// rules apply to names, comments and texts, in upper and lower case.
var rules = []rule{
	{words(`told|tells?|telling`), nil, `"returns", "reports", "logs", "prints", "sends"; "distinguishes" for "tells apart"`, nil},
	{words(`proved|proves?|proving`), nil, `"verified", "verifies" (keys), "shows", "tested" (facts)`, nil},
	{words(`(dis)?believe[sd]?|believing`), nil, `"trusted", "accepted", or "rejected"`, nil},
	{words(`door ?bells?|bells?|rings?|rang|rung|ringing`), words(`ring[ -]buffers?|extauthz ring|(api keys|roles) ring`), `"change notification", "notifies", "wakes"`, nil},
	{words(`trials?`), words(`FOR A TRIAL`), `"shadow mode"`, trialInstallation},
	{words(`would be denied`), nil, `"shadow mode" (its finding: "denied if enforced")`, nil},
	{words(`absences`), nil, `"negative entries", "negative cache"`, nil},
	{words(`leases? (holds|held|stands|stood)`), nil, `"the lease is fresh", "within max_stale"`, nil},
	{words(`rooms?`), words(`(no|enough|has|have|had|is|makes?|leaves?|much|more) room|room (for|in|to|left|of)`), `"package", or "scratch buffer"`, nil},
	{words(`(un)?vouch(es|ed)?`), nil, `"loaded outside the lease"`, nil},
	{words(`hears?|heard|hearsay`), nil, `"receives", "received"`, nil},
	{words(`had back|content again|(is|are|was|be) well`), words(`(is|are|was|be) well[- ](formed|known)`), `"reclaimed", "recovered", "healthy"`, nil},
	{words(`(goes|go|going|went) round`), nil, `"bypasses", "connects directly"`, nil},
	{words(`mend(s|ed|ing)?`), nil, `"fix"`, nil},
	{words(`stands|stood`), words(`stands (for|in for)|stood in for`), `"is", "is written", "is stored"`, nil},
	{words(`lies|lay`), words(`lay out`), `"is", "is stored"`, nil},
	{words(`whoever|who asks|nobody|somebody|anybody|everybody`), nil, `the actor: "the caller", "the client", "the replica", "no client"`, nil},
	{words(`the very \w+`), nil, `"identical", "the same"`, nil},
	{words(`floors?`), words(`math\.Floor`), `"baseline" (benchmarks), "minimum"`, nil},
	{words(`(odd|hostile) paths?`), nil, `"ambiguous path"`, nil},
	{words(`good keys?`), nil, `"valid key"`, nil},
	{words(`hand(s|ed|ing)? (over|out)`), nil, `"issues", "passes"`, nil},
}
