package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var (
	blockLine = regexp.MustCompile(`^(?:    |\t)(.*)$`)
	inlineBit = regexp.MustCompile("`([^`]+)`")
)

// TestDocumentedCommands finds every command line in the documents and checks that
// there is such a command, and that it has these flags.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d documents, %v", len(files), err)
	}
	for _, line := range []string{"expost fly", "expost migrate fly", "expost migrate run --fast", "expost gal import -Z x"} {
		if checkCommandLine(line) == "" {
			t.Errorf("%s passes", line)
		}
	}
	checked := 0
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range commandLines(string(text)) {
			checked++
			if problem := checkCommandLine(line); problem != "" {
				t.Errorf("%s: %s: %s", filepath.Base(file), line, problem)
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d command lines were found", checked)
	}
}

// commandLines returns what a document has between the marks of code and that
// begins with the program's name.
func commandLines(text string) []string {
	var out []string
	fenced := false
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		var code []string
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
			continue
		}
		if m := blockLine.FindStringSubmatch(line); m != nil || fenced {
			code = []string{strings.TrimSpace(line)}
		} else {
			for _, m := range inlineBit.FindAllStringSubmatch(line, -1) {
				code = append(code, m[1])
			}
		}
		for _, c := range code {
			for part := range strings.SplitSeq(c, "|") {
				part = strings.TrimPrefix(strings.TrimSpace(part), "$ ")
				if strings.HasPrefix(part, "expost ") {
					part, _, _ = strings.Cut(part, " #")
					out = append(out, strings.TrimSpace(part))
				}
			}
		}
	}
	return out
}

// checkCommandLine says what is wrong with a command line, or "".
func checkCommandLine(line string) string {
	root := (&app{}).command()
	root.InitDefaultCompletionCmd()
	words := strings.Fields(line)[1:]
	cmd, rest, err := root.Find(words)
	if err != nil {
		return err.Error()
	}
	if cmd == root && !strings.HasPrefix(words[0], "-") || cmd.HasSubCommands() && len(rest) > 0 && isName(rest[0]) {
		return "there is no such command"
	}
	for _, w := range rest {
		name, _, _ := strings.Cut(strings.TrimLeft(w, "-"), "=")
		switch {
		case strings.HasPrefix(w, "--"):
			if lookup(cmd, name) {
				continue
			}
			return "it has no flag --" + name
		case len(w) > 1 && w[0] == '-' && isName(strings.ToLower(w[1:2])):
			if cmd.Flags().ShorthandLookup(w[1:2]) == nil && cmd.InheritedFlags().ShorthandLookup(w[1:2]) == nil {
				return "it has no flag " + w[:2]
			}
		}
	}
	return ""
}

// lookup tells whether a command takes a flag.
func lookup(cmd *cobra.Command, name string) bool {
	return name == "help" || cmd.Flags().Lookup(name) != nil || cmd.InheritedFlags().Lookup(name) != nil
}

// isName tells whether a word is like the name of a command.
func isName(w string) bool {
	return w != "" && strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") == ""
}
