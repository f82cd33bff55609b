// Command words checks the tree for one vocabulary: it lists each word that is private to this
// project although a plain or standard term exists, with its replacement. It reads code
// (names, comments, texts) and documents alike.
//
//	go run ./scripts/words cmd models    # these directories
//	go run ./scripts/words .             # everything
//
// It exits with status 1 if it finds a word. Each rule is one entry of the variable
// rules.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// checked matches the names of files that people read. Generated checksums, data and
// licences are left out.
var checked = regexp.MustCompile(`(\.(go|md|ya?ml|sh|tmpl|tpl|sql|proto|conf)|Makefile|Dockerfile|NOTES\.txt|dashboard\.json|values\.schema\.json)$`)

// leftOut matches this program, and the pages that have to name what was renamed.
var leftOut = regexp.MustCompile(`^scripts/words/|^CHANGELOG\.md$|/upgrading\.md$`)

// names splits Go's compound names into words: keyWasTold → key Was Told.
var names = regexp.MustCompile(`([a-z0-9])([A-Z])`)

type finding struct{ word, write string }

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: words DIRECTORY...")
		os.Exit(2)
	}
	found, err := checkTree(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(2)
	}
	if found > 0 {
		fmt.Fprintf(os.Stderr, "%d words to replace; the rules are in scripts/words/rules.go\n", found)
		os.Exit(1)
	}
}

// checkTree prints the findings in the tracked files under paths, and counts
// them.
func checkTree(paths []string) (int, error) {
	list, err := exec.Command("git", append([]string{"ls-files", "-z", "--"}, paths...)...).Output()
	if err != nil {
		return 0, fmt.Errorf("listing the tracked files failed: %w; run it in a git working tree", err)
	}
	count := 0
	for file := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		if !checked.MatchString(file) || leftOut.MatchString(file) {
			continue
		}
		n, err := checkFile(file)
		if err != nil && !os.IsNotExist(err) {
			return 0, err
		}
		count += n
	}
	return count, nil
}

func checkFile(file string) (int, error) {
	opened, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer opened.Close()
	count, number := 0, 0
	lines := bufio.NewScanner(opened)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		number++
		for _, f := range checkLine(file, lines.Text()) {
			fmt.Printf("%s:%d: %q: write %s\n", file, number, f.word, f.write)
			count++
		}
	}
	return count, lines.Err()
}

// checkLine returns the findings in one line. An allowed phrase exempts the words in it
// from its own rule only.
func checkLine(file, line string) []finding {
	if filepath.Ext(file) == ".go" {
		line = names.ReplaceAllString(line, "$1 $2")
	}
	line = strings.ReplaceAll(line, "_", " ")
	var found []finding
	for _, r := range rules {
		if r.except != nil && r.except.MatchString(file) {
			continue
		}
		text := line
		if r.allow != nil {
			text = r.allow.ReplaceAllString(text, "·")
		}
		for _, word := range r.word.FindAllString(text, -1) {
			found = append(found, finding{word, r.write})
		}
	}
	return found
}
