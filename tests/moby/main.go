// Docker's own matcher as a judge of ours, and Go's own reader of archives as a judge of our packer.
//
//	main judge   reads JSON lines {"text": "...", "paths": [...]} and answers each with
//	             {"ignored": [...], "bad": [...], "error": "..."}
//	main untar   reads a tar.gz and prints a line a member:
//	             type, octal mode, quoted name, quoted link target, sha256 of the content
//
// Debian's package of the matcher is older than its reader of .dockerignore files, so the few rules
// of that file are written here as Docker's documentation has them: a comment has its # in the first
// column, blanks around a pattern are trimmed, a pattern is cleaned as a path, a leading slash means
// nothing, and a byte order mark before the first line is dropped.
package main

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/moby/patternmatcher"
)

type question struct {
	Text  string   `json:"text"`
	Paths []string `json:"paths"`
}

type answer struct {
	// One a path: whether Docker leaves it out.
	Ignored []bool `json:"ignored"`
	// The lines that are no patterns, whether or not Docker finds out.
	Bad []int `json:"bad"`
	// Why Docker refuses to send anything.
	Error string `json:"error,omitempty"`
}

type line struct {
	number  int
	pattern string
}

func read(text string) (lines []line) {
	text = strings.TrimPrefix(text, "\ufeff")
	for index, pattern := range strings.Split(text, "\n") {
		if strings.HasPrefix(pattern, "#") {
			continue
		}
		pattern = strings.TrimSpace(pattern)
		if pattern == "" {
			continue
		}
		mark := ""
		if pattern[0] == '!' {
			mark, pattern = "!", strings.TrimSpace(pattern[1:])
		}
		if pattern != "" {
			pattern = path.Clean(pattern)
		}
		if len(pattern) > 1 {
			pattern = strings.TrimPrefix(pattern, "/")
		}
		lines = append(lines, line{index + 1, mark + pattern})
	}
	return lines
}

// Whether a pattern is none. The matcher finds out when it is made, but for what follows a star, which
// path.Match checks and filepath.Match does not; or when it first asks the pattern, which is an
// exception about what is ignored and any other about what is not.
func refused(pattern string) bool {
	if _, err := path.Match(path.Clean(strings.TrimPrefix(pattern, "!")), "."); err != nil {
		return true
	}
	for _, patterns := range [][]string{{pattern}, {"**", pattern}} {
		matcher, err := patternmatcher.New(patterns)
		if err != nil {
			return true
		}
		if _, _, err := matcher.MatchesUsingParentResults("x", patternmatcher.MatchInfo{}); err != nil {
			return true
		}
	}
	return false
}

func judge(asked question) (told answer) {
	told = answer{Ignored: []bool{}, Bad: []int{}}
	patterns := []string{}
	for _, line := range read(asked.Text) {
		patterns = append(patterns, line.pattern)
		if refused(line.pattern) {
			told.Bad = append(told.Bad, line.number)
		}
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		told.Error = err.Error()
		return told
	}
	context := &context{matcher: matcher, plain: true, folders: map[string]folder{"": {}}}
	for _, pattern := range matcher.Patterns() {
		if pattern.Exclusion() {
			context.exceptions = append(context.exceptions, trunk(pattern)+"/")
			context.plain = context.plain && !strings.ContainsAny(trunk(pattern), "*[]?^\\")
		}
	}
	for _, name := range asked.Paths {
		ignored, _, err := context.judge(name)
		if err != nil {
			told.Error = err.Error()
			return told
		}
		told.Ignored = append(told.Ignored, ignored)
	}
	return told
}

// A context as Docker's sender walks it: folders first. What matched a folder is handed down, and an
// ignored folder is not entered unless the text of an exception begins with its path; or at all, where
// an exception has more than stars at its end.
type context struct {
	matcher    *patternmatcher.PatternMatcher
	exceptions []string
	plain      bool
	folders    map[string]folder
}

type folder struct {
	matches patternmatcher.MatchInfo
	skipped bool
}

func (c *context) judge(name string) (bool, patternmatcher.MatchInfo, error) {
	above := ""
	if at := strings.LastIndexByte(name, '/'); at >= 0 {
		above = name[:at]
	}
	if _, known := c.folders[above]; !known {
		ignored, matches, err := c.judge(above)
		if err != nil {
			return false, matches, err
		}
		c.folders[above] = folder{matches, ignored && !c.entered(above)}
	}
	if c.folders[above].skipped {
		return true, patternmatcher.MatchInfo{}, nil
	}
	return c.matcher.MatchesUsingParentResults(name, c.folders[above].matches)
}

func (c *context) entered(ignored string) bool {
	for _, exception := range c.exceptions {
		if strings.HasPrefix(exception, ignored+"/") {
			return true
		}
	}
	return !c.plain
}

// A pattern without the stars at its end.
func trunk(pattern *patternmatcher.Pattern) string {
	return strings.TrimSuffix(strings.TrimSuffix(pattern.String(), "/**"), "/*")
}

func judgeAll(in io.Reader, out io.Writer) error {
	questions, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var asked question
		if err := questions.Decode(&asked); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := answers.Encode(judge(asked)); err != nil {
			return err
		}
	}
}

func untar(in io.Reader, out io.Writer) error {
	unzipped, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	members := tar.NewReader(unzipped)
	for {
		member, err := members.Next()
		if err == io.EOF {
			// What follows the archive must still be well-formed.
			_, err := io.Copy(io.Discard, unzipped)
			return err
		} else if err != nil {
			return err
		}
		digest := sha256.New()
		if _, err := io.Copy(digest, members); err != nil {
			return err
		}
		fmt.Fprintf(out, "%c %o %q %q %x\n", member.Typeflag, member.Mode, member.Name, member.Linkname, digest.Sum(nil))
	}
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	mode, err := "judge", error(nil)
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "judge":
		err = judgeAll(bufio.NewReader(os.Stdin), out)
	case "untar":
		err = untar(bufio.NewReader(os.Stdin), out)
	default:
		err = fmt.Errorf("no such mode: %s", mode)
	}
	if flushed := out.Flush(); err == nil {
		err = flushed
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
