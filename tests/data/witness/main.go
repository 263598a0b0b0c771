// Reads a copy of a ledger's tiles as any witness would, by Go's own implementation of transparent logs, and proves:
// the checkpoint is signed by the key that was given, every tile belongs to its tree, every entry is a leaf of it,
// and the tree continues the one of an earlier checkpoint (if a file with one is named).
//
//	witness FOLDER VERIFIER-KEY [EARLIER-CHECKPOINT]
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func fail(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

type tiles struct{ folder string }

func (t tiles) Height() int                                { return 8 }
func (t tiles) SaveTiles(tiles []tlog.Tile, data [][]byte) {}
func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, each := range wanted {
		// Go's paths have the height in them, the specification's have not.
		data, err := os.ReadFile(filepath.Join(t.folder, strings.Replace(each.Path(), "tile/8/", "tile/", 1)))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func treeOf(text string, key string) tlog.Tree {
	verifier, err := note.NewVerifier(key)
	fail("verifier key", err)
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	fail("checkpoint", err)
	// go.sum's own first line is another; the rest has one form.
	lines := strings.SplitN(opened.Text, "\n", 2)
	tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + lines[1]))
	fail("tree", err)
	if lines[0] != verifier.Name() {
		fail("checkpoint", fmt.Errorf("its origin is %q", lines[0]))
	}
	return tree
}

func main() {
	folder, key := os.Args[1], os.Args[2]
	text, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	fail("checkpoint", err)
	tree := treeOf(string(text), key)
	reader := tlog.TileHashReader(tree, tiles{folder})
	root, err := tlog.TreeHash(tree.N, reader)
	fail("tree hash", err)
	if root != tree.Hash {
		fail("tree hash", fmt.Errorf("the tiles make %v, the checkpoint says %v", root, tree.Hash))
	}
	entries := int64(0)
	for index := int64(0); index*256 < tree.N; index++ {
		width := int(min(256, tree.N-index*256))
		path := strings.Replace(tlog.Tile{H: 8, L: -1, N: index, W: width}.Path(), "tile/8/data/", "tile/entries/", 1)
		data, err := os.ReadFile(filepath.Join(folder, path))
		fail("entries", err)
		for ; len(data) > 0; entries++ {
			size := 2 + int(binary.BigEndian.Uint16(data))
			proof, err := tlog.ProveRecord(tree.N, entries, reader)
			fail("proof", err)
			fail(fmt.Sprintf("entry %d", entries), tlog.CheckRecord(proof, tree.N, tree.Hash, entries, tlog.RecordHash(data[2:size])))
			data = data[size:]
		}
	}
	if entries != tree.N {
		fail("entries", fmt.Errorf("%d of %d", entries, tree.N))
	}
	if len(os.Args) > 3 {
		earlier, err := os.ReadFile(os.Args[3])
		fail("earlier checkpoint", err)
		old := treeOf(string(earlier), key)
		proof, err := tlog.ProveTree(tree.N, old.N, reader)
		fail("consistency", err)
		fail("consistency", tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash))
		fmt.Printf("continues %d\n", old.N)
	}
	fmt.Printf("size %d entries %d\n", tree.N, entries)
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}
