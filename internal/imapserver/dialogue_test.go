package imapserver_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"expost/internal/imapserver"
	"expost/internal/mail"
)

var rewrite = flag.Bool("rewrite", false, "write what the server says into testdata/dialogue")

// TestDialogues plays the files of testdata/dialogue against a server of their
// own. A line that starts with
//
//	C:  is sent, with a line end; "{}" and "{+}" stand for the size of the L: lines
//	    behind it (or behind the continuation request), and the C: line behind
//	    those goes on with the command
//	L:  is a line of a literal
//	W:  waits until the content of ajay's email of that number is removed
//	R:  is sent as a Go string says, without a line end
//	S:  is what the server must say; <any> stands for any characters
//	#   is a remark
//
// A digit before the colon (C2:) names another connection.
func TestDialogues(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "dialogue", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			play(t, file)
		})
	}
}

// step is a line of a dialogue.
type step struct{ kind, conn, text string }

// parse cuts a dialogue into its lines.
func parse(t *testing.T, file string) []step {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^([CSLRW])(\d?):(?: (.*))?$`)
	var steps []step
	for i, l := range strings.Split(strings.TrimRight(string(data), "\n"), "\n") {
		m := line.FindStringSubmatch(l)
		if m == nil {
			if l != "" && !strings.HasPrefix(l, "#") {
				t.Fatalf("%s:%d: what is %q?", file, i+1, l)
			}
			m = []string{"", "#", "", l}
		}
		steps = append(steps, step{m[1], m[2], m[3]})
	}
	return steps
}

// literal returns the literal of the L: lines at or behind step i.
func literal(steps []step, i int) string {
	var b strings.Builder
	for ; i < len(steps) && steps[i].kind != "L"; i++ {
	}
	for ; i < len(steps) && steps[i].kind == "L"; i++ {
		b.WriteString(steps[i].text + "\r\n")
	}
	return b.String()
}

// play is one dialogue.
func play(t *testing.T, file string) {
	site := newSite(t, func(cfg *imapserver.Config) {
		cfg.Limits.Command.Line = 16 << 10
		cfg.Limits.MessageSize = 64 << 10
		cfg.TLSConfig = testTLS(t)
	})
	steps := parse(t, file)
	conns := map[string]*peer{}
	var out bytes.Buffer
	for i, s := range steps {
		p := conns[s.conn]
		if p == nil && s.kind != "#" {
			p = site.dial(t)
			conns[s.conn] = p
			if greeting := p.line(); !strings.HasPrefix(greeting, "* OK ") {
				t.Fatalf("greeting is %q", greeting)
			}
		}
		switch s.kind {
		case "#":
			fmt.Fprintln(&out, s.text)
			continue
		case "C":
			text := s.text
			if at := strings.Index(text, "{"); at >= 0 && strings.HasSuffix(text, "}") && (strings.HasSuffix(text, "{}") || strings.HasSuffix(text, "{+}")) {
				text = text[:at+1] + fmt.Sprint(len(literal(steps, i))) + text[at+1:]
			}
			if i == 0 || steps[i-1].kind != "L" {
				p.tag, _, _ = strings.Cut(text, " ")
			}
			p.send(text + "\r\n")
		case "L":
			p.send(s.text + "\r\n")
		case "W":
			id, err := strconv.Atoi(s.text)
			if err != nil {
				t.Fatalf("%s:%d: %v", file, i+1, err)
			}
			site.removed(t, people()["ajay"].ID, mail.EmailID(id))
		case "R":
			var text string
			if _, err := fmt.Sscanf(s.text, "%q", &text); err != nil {
				t.Fatalf("%s:%d: %v", file, i+1, err)
			}
			p.send(text)
		case "S":
			p.deadline()
			p.at = fmt.Sprintf("%s:%d: ", file, i+1)
			got := p.line()
			if !matchLine(s.text, got) && !*rewrite {
				t.Fatalf("%s:%d:\n got %s\nwant %s", file, i+1, got, s.text)
			} else if *rewrite && !matchLine(s.text, got) {
				s.text = got
			}
		}
		fmt.Fprintf(&out, "%s%s: %s\n", s.kind, s.conn, s.text)
		if *rewrite && s.kind != "S" && !sameTurn(steps, i) {
			record(&out, p, s)
		}
	}
	if *rewrite {
		text := regexp.MustCompile(`(?m) +$`).ReplaceAll(out.Bytes(), nil)
		if err := os.WriteFile(file, text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// sameTurn tells whether the step behind i says or expects more for the same
// connection.
func sameTurn(steps []step, i int) bool {
	return i+1 < len(steps) && steps[i+1].kind != "#" && (steps[i+1].conn == steps[i].conn && (steps[i].kind == "L" || steps[i+1].kind != "C"))
}

// record writes down what the server says until it ends the command or invites
// a literal.
func record(out *bytes.Buffer, p *peer, s step) {
	for {
		p.deadline()
		got := p.line()
		fmt.Fprintf(out, "S%s: %s\n", s.conn, got)
		if strings.HasPrefix(got, p.tag+" ") || strings.HasPrefix(got, "+ ") || s.kind != "C" {
			return
		}
	}
}

// matchLine matches a line against a pattern with <any>.
func matchLine(pattern, line string) bool {
	parts := strings.Split(pattern, "<any>")
	if len(parts) == 1 {
		return pattern == strings.TrimRight(line, " ") || pattern == line
	}
	if !strings.HasPrefix(line, parts[0]) {
		return false
	}
	line = line[len(parts[0]):]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(line, part)
		if i < 0 {
			return false
		}
		line = line[i+len(part):]
	}
	return strings.HasSuffix(line, parts[len(parts)-1])
}
