package gitlab

import (
	"context"
	"errors"
)

// A Source keeps a bare mirror of each project under one folder and writes commits of it out as files.
type Source struct {
	MaxBytes int64 // of one checkout; set before use
	MaxFiles int   // of one checkout; set before use
	dir      string
}

// NewSource opens the folder, making it if needed.
func NewSource(dir string) (*Source, error) { return &Source{dir: dir}, nil }

// Fetch brings one commit into the project's mirror.
func (s *Source) Fetch(ctx context.Context, c *Client, project int64, path, sha string, refs ...string) error {
	return errors.ErrUnsupported
}

// Checkout writes the tree of a fetched commit to dest.
func (s *Source) Checkout(ctx context.Context, project int64, sha, dest string) (warnings []string, err error) {
	return nil, errors.ErrUnsupported
}

// ReadFile reads one file of a fetched commit.
func (s *Source) ReadFile(project int64, sha, path string, max int64) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
