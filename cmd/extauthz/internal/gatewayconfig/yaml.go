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

// functions are the functions that templates may call.
var functions = template.FuncMap{"word": yamlWord, "words": yamlWords, "lines": commentLines, "indent": indent, "address": envoyAddress, "discovery": discovery}

// execute runs the named template on data.
func execute(w io.Writer, name string, data any) error {
	t, err := template.New(name).Funcs(functions).ParseFS(templates, "templates/*.tmpl")
	if err != nil {
		return err
	}
	return t.ExecuteTemplate(w, name+".yaml.tmpl", data)
}

// yamlWord writes a word for YAML. It quotes words that YAML would read as something
// else: a number, a truth value, or a character with a meaning in YAML.
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

// yamlWords writes words as the elements of a list in brackets, in lines of a readable
// length.
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

// commentLines writes each entry as one line of a YAML comment.
func commentLines(entries []string) string {
	var b strings.Builder
	for _, e := range entries {
		b.WriteString("\n#   " + e)
	}
	return b.String()
}

// indent indents each line of a text by n blanks, except empty lines.
func indent(n int, text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = strings.Repeat(" ", n) + line
		}
	}
	return strings.Join(lines, "\n")
}
