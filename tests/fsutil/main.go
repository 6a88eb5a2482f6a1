// Runs BuildKit's own code that follows links, to compare ours with it.
//
// Reads JSON lines {"root": "...", "path": "..."}, the folder of a context and a path that a build
// reads from it. Writes for each line {"sent": [...], "copied": [...], "error": "..."}:
//
//   - sent: the entries that BuildKit's client sends. It sends an entry if an include pattern matches
//     the entry or a folder above it, and the folders above such an entry.
//   - copied: the files and folders that the path leads to as the system resolves it, with the links
//     on the way, unless the way leaves the context. Both are the work of others: the first of
//     BuildKit, the second of Go and the system.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/tonistiigi/fsutil"
)

type request struct {
	Root string `json:"root"`
	Path string `json:"path"`
}

type result struct {
	Sent   []string `json:"sent"`
	Copied []string `json:"copied"`
	Error  string   `json:"error,omitempty"`
}

func sent(root, path string) ([]string, error) {
	patterns, err := fsutil.FollowLinks(root, []string{path})
	if err != nil {
		return nil, err
	}
	// No pattern is no filter.
	if len(patterns) == 0 {
		patterns = []string{"**"}
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	all := []string{}
	known := map[string]bool{".": true}
	matches := map[string]patternmatcher.MatchInfo{}
	err = filepath.WalkDir(root, func(full string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err := filepath.Rel(root, full)
		if err != nil || path == "." {
			return err
		}
		match, info, err := matcher.MatchesUsingParentResults(path, matches[filepath.Dir(path)])
		if err != nil {
			return err
		}
		matches[path] = info
		for ; match && !known[path]; path = filepath.Dir(path) {
			known[path] = true
			all = append(all, path)
		}
		return nil
	})
	return all, err
}

func copied(root, path string) ([]string, error) {
	all := []string{}
	matches, err := filepath.Glob(filepath.Join(root, path))
	if err != nil {
		return nil, err
	}
	for _, match := range matches {
		real, err := filepath.EvalSymlinks(match)
		if err != nil || !strings.HasPrefix(real, root+"/") {
			continue
		}
		err = filepath.WalkDir(real, func(full string, entry fs.DirEntry, err error) error {
			all = append(all, strings.TrimPrefix(full, root+"/"))
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func answer(req request) result {
	all, err := copied(req.Root, req.Path)
	if err != nil {
		return result{Sent: []string{}, Copied: []string{}, Error: err.Error()}
	}
	res := result{Copied: all}
	if res.Sent, err = sent(req.Root, req.Path); err != nil {
		res.Sent, res.Error = []string{}, err.Error()
	}
	return res
}

func main() {
	requests := json.NewDecoder(bufio.NewReader(os.Stdin))
	out := bufio.NewWriter(os.Stdout)
	results := json.NewEncoder(out)
	for {
		var req request
		err := requests.Decode(&req)
		if err == io.EOF {
			break
		}
		if err == nil {
			err = results.Encode(answer(req))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if err := out.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
