package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"go.yaml.in/yaml/v3"

	"extauthz/cmd/extauthz/internal/config"
)

const root = "../.."

// documents returns the texts for people, by their path from the root of the repository.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "helm/*/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			texts[name] = string(text)
		}
	}
	if len(texts) < 10 {
		t.Fatalf("only %d documents", len(texts))
	}
	return texts
}

var (
	fenced = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```")
	inline = regexp.MustCompile("`([^`\n]+)`")
	// command finds the binary at the beginning of a command. Variables, a pipe from
	// another command, or a command that runs it inside a container may come before it.
	command = regexp.MustCompile(`(?:^|[|;&(] ?|\bexec (?:-[a-zA-Z]+ )*\S+ | -- )(?:[A-Z_]+=\S* )*(?:bin/)?extauthz ([^|&<>#);]*)`)
	word    = regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`)
	// notSetting matches texts that look like settings: names of files, and attributes of
	// spans.
	notSetting = regexp.MustCompile(`^(admin\.key|database\.pgpass|http\.(request|response|route)\b.*)$`)
	setting    = regexp.MustCompile(`^[a-z_]+(\.[a-z_]+)+$`)
)

// commandsIn returns this program's command lines in a text, without the program's name.
// named are those in the middle of a sentence, which may lack arguments.
func commandsIn(text string) (lines, named []string) {
	var candidates, spans []string
	for _, block := range fenced.FindAllStringSubmatch(text, -1) {
		if block[1] == "" || block[1] == "sh" {
			candidates = append(candidates, strings.Split(strings.ReplaceAll(block[2], "\\\n", " "), "\n")...)
		}
	}
	for _, span := range inline.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		if strings.HasPrefix(span[1], "extauthz ") || strings.Contains(span[1], " extauthz ") {
			spans = append(spans, span[1])
		}
	}
	return commandsOf(candidates), commandsOf(spans)
}

func commandsOf(candidates []string) (lines []string) {
	for _, line := range candidates {
		if strings.HasPrefix(line, "docker") && !strings.Contains(line, "exec") { // here extauthz is the name of the image or the service
			continue
		}
		for _, found := range command.FindAllStringSubmatch(line, -1) {
			lines = append(lines, strings.TrimSpace(found[1]))
		}
	}
	return lines
}

// TestDocuments_CommandsExist: each command in the documents exists, with its flags and
// its number of arguments. Other tests cover what the commands do.
func TestDocuments_CommandsExist(t *testing.T) {
	commands := 0
	for name, text := range documents(t) {
		lines, named := commandsIn(text)
		for i, line := range append(lines, named...) {
			commands++
			var words []string
			for _, w := range word.FindAllString(line, -1) {
				words = append(words, strings.Trim(w, `'"`))
			}
			c, rest, err := newRoot().Find(words)
			if err == nil && !strings.Contains(line, "…") {
				if err = c.ParseFlags(rest); err == nil && c.Runnable() && i < len(lines) {
					err = c.ValidateArgs(c.Flags().Args())
				}
			}
			if err != nil {
				t.Errorf("%s: extauthz %s: %v", name, line, err)
			}
		}
	}
	if commands < 30 {
		t.Errorf("only %d commands were found", commands)
	}
}

// TestDocuments_ConfigurationsAreValid: a YAML block whose names are all settings is a
// configuration, and it must load, except that the files it names need not exist.
func TestDocuments_ConfigurationsAreValid(t *testing.T) {
	var known schemaPart
	if err := json.Unmarshal(config.Schema(), &known); err != nil {
		t.Fatal(err)
	}
	values := chartValues(t)
	configurations, settings := 0, 0
	for name, text := range documents(t) {
		if strings.HasPrefix(name, "helm") { // a chart's values have other names
			continue
		}
		var candidates []string
		for _, block := range fenced.FindAllStringSubmatch(text, -1) {
			if block[1] == "yaml" {
				candidates = append(candidates, block[2])
			}
		}
		for _, span := range inline.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			if path := strings.Split(span[1], "."); setting.MatchString(span[1]) && !notSetting.MatchString(span[1]) && known.has(path[:1]) {
				settings++
				if !known.has(path) && !hasValue(values, path) {
					t.Errorf("%s: there is no setting %s", name, span[1])
				}
			}
			candidates = append(candidates, span[1])
		}
		for _, candidate := range candidates {
			var top map[string]yaml.Node
			if yaml.Unmarshal([]byte(candidate), &top) != nil || len(top) == 0 {
				continue
			}
			ours := true
			for section := range top {
				ours = ours && known.has([]string{section})
			}
			if !ours {
				if strings.Contains(candidate, "# extauthz.yaml") {
					t.Errorf("%s: no configuration of ours:\n%s", name, candidate)
				}
				continue
			}
			configurations++
			file := filepath.Join(t.TempDir(), "extauthz.yaml")
			if err := os.WriteFile(file, []byte(candidate), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := config.Load(config.Options{Path: file, Explicit: true}); err != nil {
				for problem := range strings.SplitSeq(err.Error(), "\n") {
					if !strings.Contains(problem, "no such file") {
						t.Errorf("%s: %s in\n%s", name, problem, candidate)
					}
				}
			}
		}
	}
	if configurations < 5 || settings < 20 {
		t.Errorf("only %d configurations and %d settings were found", configurations, settings)
	}
}

// schemaPart is the part of a JSON schema that defines names.
type schemaPart struct {
	Properties map[string]*schemaPart `json:"properties"`
	Items      *schemaPart            `json:"items"`
}

func (s *schemaPart) has(path []string) bool {
	if len(path) == 0 {
		return true
	}
	if s.Items != nil {
		return s.Items.has(path)
	}
	next, ok := s.Properties[path[0]]
	return ok && next.has(path[1:])
}

// chartValues returns the values of all charts, by the chart's name.
func chartValues(t *testing.T) map[string]any {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, "helm/*/values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, &values); err != nil {
			t.Fatal(err)
		}
	}
	return values
}

func hasValue(values map[string]any, path []string) bool {
	var at any = values
	for _, name := range path {
		section, ok := at.(map[string]any)
		if !ok {
			return false
		}
		if at, ok = section[name]; !ok {
			return false
		}
	}
	return true
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestDocuments_LinksResolve: linked files exist, and so do the linked headings in them.
func TestDocuments_LinksResolve(t *testing.T) {
	texts := documents(t)
	links := 0
	for name, text := range texts {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			path, anchor, anchored := strings.Cut(found[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			links++
			target := filepath.Join(filepath.Dir(name), path)
			if path == "" {
				target = name
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: %s leads nowhere", name, found[1])
			} else if anchored && !headings(texts[target])[anchor] {
				t.Errorf("%s: %s leads to no heading of %s", name, found[1], target)
			}
		}
	}
	if links < 30 {
		t.Errorf("only %d links were found", links)
	}
}

var heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)

// headings returns the anchors that GitHub makes for a text's headings.
func headings(text string) map[string]bool {
	anchors := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		anchors[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, found[1])] = true
	}
	return anchors
}
