package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func compareCommand() *cobra.Command {
	return &cobra.Command{
		Use: "compare DIRECTORY", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return compare(cmd.Context(), args[0]) },
	}
}

// ownDirs are those of an image in which there is nothing but Sluice's own files.
var ownDirs = []string{"/usr/local/bin", "/opt/cni/bin"}

// compare sees that the image below root has all files of the one that the cluster runs:
// Sluice's own byte for byte and no others beside them, and nft and its libraries, whose
// versions are the distribution's of the day.
func compare(ctx context.Context, root string) error {
	c, err := openCache()
	if err != nil {
		return err
	}
	var o options
	if err := o.complete(); err != nil {
		return err
	}
	files, err := sluiceFiles(ctx, c, o.bin)
	if err != nil {
		return err
	}
	var errs []error
	own := 0
	for path, source := range files {
		theirs := filepath.Join(root, path)
		switch {
		case strings.HasPrefix(source, "->"):
			target, err := os.Readlink(theirs)
			if err == nil && target != source[2:] {
				err = fmt.Errorf("%s leads to %q, not to %s", path, target, source[2:])
			}
			errs = append(errs, err)
		case isOwn(path):
			own++
			errs = append(errs, sameContent(theirs, source))
		default: // Debian's /lib is a link within the image
			_, err := os.Stat(theirs)
			errs = append(errs, err)
		}
	}
	for _, dir := range ownDirs {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		errs = append(errs, err)
		for _, e := range entries {
			if path := filepath.Join(dir, e.Name()); files[path] == "" {
				errs = append(errs, fmt.Errorf("%s is not in the cluster's image", path))
			}
		}
	}
	progress("  %d executables compared byte for byte, %d other files", own, len(files)-own)
	return errors.Join(errs...)
}

func isOwn(path string) bool {
	for _, dir := range ownDirs {
		if filepath.Dir(path) == dir {
			return true
		}
	}
	return false
}

func sameContent(a, b string) error {
	x, err := os.ReadFile(a)
	if err != nil {
		return err
	}
	y, err := os.ReadFile(b)
	if err == nil && !bytes.Equal(x, y) {
		err = fmt.Errorf("%s (%d bytes) differs from %s (%d bytes)", a, len(x), b, len(y))
	}
	return err
}
