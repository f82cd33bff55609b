package gatewayconfig

import (
	"embed"
	"io"
	"strconv"
	"strings"
	"text/template"
)

//go:embed templates/*.tmpl
var templates embed.FS

// functions are what the templates call.
var functions = template.FuncMap{"word": yamlWord, "words": yamlWords, "lines": commentLines, "indent": indent, "address": envoyAddress, "discovery": discovery}

// execute writes the template of a name, made from data.
func execute(w io.Writer, name string, data any) error {
	t, err := template.New(name).Funcs(functions).ParseFS(templates, "templates/*.tmpl")
	if err != nil {
		return err
	}
	return t.ExecuteTemplate(w, name+".yaml.tmpl", data)
}

// yamlWord writes a word as YAML has it, quoted where YAML would read something
// else: a number, a truth value, a sign of its own.
func yamlWord(word string) string {
	switch strings.ToLower(word) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
	default:
		if plainForm.MatchString(word) {
			return word
		}
	}
	return strconv.Quote(word)
}

// yamlWords writes words as a list within brackets, in lines of a bearable length.
func yamlWords(words []string, indent int) string {
	var b strings.Builder
	width := indent
	for i, w := range words {
		w = yamlWord(w)
		switch {
		case i == 0:
		case width+len(w) > 110:
			b.WriteString(",\n" + strings.Repeat(" ", indent))
			width = indent
		default:
			b.WriteString(", ")
		}
		b.WriteString(w)
		width += len(w) + 2
	}
	return b.String()
}

// commentLines writes each entry as a line of a comment.
func commentLines(entries []string) string {
	var b strings.Builder
	for _, e := range entries {
		b.WriteString("\n#   " + e)
	}
	return b.String()
}

// indent sets each line of a text in by n blanks, but for empty ones.
func indent(n int, text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = strings.Repeat(" ", n) + line
		}
	}
	return strings.Join(lines, "\n")
}
