package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestAnImageHoldsItsFilesWithTheirDirectoriesBeforeThem(t *testing.T) {
	source := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(source, []byte("text"), 0o755); err != nil {
		t.Fatal(err)
	}
	i := image{"test/image:1", map[string]string{"/usr/bin/program": source, "/bin": "->usr/bin"}, []string{"/usr/bin/program"}}
	layer, err := i.layer()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, layer), []string{"bin", "usr/", "usr/bin/", "usr/bin/program"}; !slices.Equal(got, want) {
		t.Errorf("the layer holds %q, want %q", got, want)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	var archives [2][]byte
	for n := range archives {
		if err := i.write(file); err != nil {
			t.Fatal(err)
		}
		if archives[n], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same image gives other bytes the second time")
	}
	if got := names(t, archives[0]); !slices.Contains(got, "manifest.json") || !slices.Contains(got, "layer.tar") {
		t.Errorf("the archive holds %q", got)
	}
}

func names(t *testing.T, archive []byte) []string {
	t.Helper()
	var out []string
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, h.Name)
	}
}

func TestQuantilesAreOfTheSmallestThatCoverTheirShare(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   quantiles
	}{
		{[]float64{3}, quantiles{3, 3}},
		{[]float64{4, 1, 3, 2}, quantiles{2, 4}},
	} {
		if got := newQuantiles(slices.Clone(test.values)); got != test.want {
			t.Errorf("of %v: %v, want %v", test.values, got, test.want)
		}
	}
}
