// Runs Docker's own matcher and Go's own archive reader, to compare ours with them.
//
//	main match   reads JSON lines {"text": "...", "paths": [...]} and writes for each
//	             {"ignored": [...], "invalid": [...], "error": "..."}
//	main untar   reads a tar.gz and prints one line for each member:
//	             type, octal mode, quoted name, quoted link target, sha256 of the content
//
// Debian's package of the matcher has no reader of .dockerignore files, so the rules of Docker's
// documentation are implemented here: a comment has its # in the first column, blanks around a
// pattern are trimmed, a pattern is cleaned like a path, a leading slash is ignored, and a byte order
// mark before the first line is dropped.
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

type request struct {
	Text  string   `json:"text"`
	Paths []string `json:"paths"`
}

type result struct {
	// For each path, true if Docker ignores it.
	Ignored []bool `json:"ignored"`
	// The lines with invalid patterns, even if Docker does not detect them.
	Invalid []int `json:"invalid"`
	// The error with which Docker rejects the whole file.
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

// Returns true if a pattern is invalid. The matcher detects most errors when it is created, but not
// those after a star, which path.Match checks and filepath.Match does not. It detects others when it
// first uses the pattern: an exception for an ignored path, any other pattern for one that is not.
func invalid(pattern string) bool {
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

func match(req request) (res result) {
	res = result{Ignored: []bool{}, Invalid: []int{}}
	patterns := []string{}
	for _, line := range read(req.Text) {
		patterns = append(patterns, line.pattern)
		if invalid(line.pattern) {
			res.Invalid = append(res.Invalid, line.number)
		}
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		res.Error = err.Error()
		return res
	}
	context := &context{matcher: matcher, plain: true, folders: map[string]folder{"": {}}}
	for _, pattern := range matcher.Patterns() {
		if pattern.Exclusion() {
			context.exceptions = append(context.exceptions, prefix(pattern)+"/")
			context.plain = context.plain && !strings.ContainsAny(prefix(pattern), "*[]?^\\")
		}
	}
	for _, name := range req.Paths {
		ignored, _, err := context.match(name)
		if err != nil {
			res.Error = err.Error()
			return res
		}
		res.Ignored = append(res.Ignored, ignored)
	}
	return res
}

// A context as Docker walks it: folders first. The matches of a folder are passed down to its entries.
// An ignored folder is entered only if the text of an exception begins with its path, or if any
// exception has special characters before its trailing stars.
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

func (c *context) match(name string) (bool, patternmatcher.MatchInfo, error) {
	above := ""
	if at := strings.LastIndexByte(name, '/'); at >= 0 {
		above = name[:at]
	}
	if _, known := c.folders[above]; !known {
		ignored, matches, err := c.match(above)
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

// Returns a pattern without its trailing stars.
func prefix(pattern *patternmatcher.Pattern) string {
	return strings.TrimSuffix(strings.TrimSuffix(pattern.String(), "/**"), "/*")
}

func matchAll(in io.Reader, out io.Writer) error {
	requests, results := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var req request
		if err := requests.Decode(&req); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := results.Encode(match(req)); err != nil {
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
			// The bytes after the archive must be valid gzip too.
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
	mode, err := "match", error(nil)
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "match":
		err = matchAll(bufio.NewReader(os.Stdin), out)
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
