package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"groundcrew/store"
)

// ticketLife is how long the server has to notice that a backup is asked for.
const ticketLife = time.Minute

// backup writes a backup of the data folder into a file, by the server where one runs, and restores it on trial before it counts.
// The file is there whole or not at all, mode 0600.
func backup(ctx context.Context, c config, stdout io.Writer) (err error) {
	if _, err := os.Lstat(c.file); !errors.Is(err, fs.ErrNotExist) {
		return usageError{exitUsage, fmt.Sprintf("%s is there already, and a backup overwrites nothing; name another file", c.file)}
	}
	f, err := os.CreateTemp(filepath.Dir(c.file), ".backup-*")
	if err != nil {
		return fmt.Errorf("the backup cannot be written: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if rm := os.Remove(f.Name()); !errors.Is(rm, fs.ErrNotExist) { // it has its name now
			err = errors.Join(err, rm)
		}
	}()
	if err := writeBackup(ctx, c, f); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	note, err := store.CheckBackup(f, filepath.Dir(c.file))
	if err != nil {
		return fmt.Errorf("what was written is no good: %w. Nothing was kept. Try again; if it says the same, the data itself is damaged: keep your last good backup", err)
	}
	if err := keepBackup(f, c.file); err != nil {
		return err
	}
	if err := store.NoteBackup(c.dataDir, store.LastBackup{Made: note.Made, Size: note.Size}); err != nil {
		return fmt.Errorf("the backup %s is good, and its server could not be told of it: %w", c.file, err)
	}
	fmt.Fprintf(stdout, "%s: %s of %s, restored on trial.\nThe master key is not in it. Keep %s somewhere else: without it the backup opens for nobody.\n", c.file, contents(note), c.dataDir, keyFile(c))
	return nil
}

// keepBackup gives a backup its name, which nothing has yet, once it is on disk.
func keepBackup(f *os.File, name string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), name); err != nil { // unlike a rename it replaces nothing
		if err := os.Rename(f.Name(), name); err != nil {
			return err
		}
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// writeBackup makes the backup here where the server is stopped, and asks it where it runs.
func writeBackup(ctx context.Context, c config, f *os.File) error {
	_, running, err := store.BackupOf(ctx, c.dataDir, version, f)
	if err != nil || !running {
		return err
	}
	token, err := store.WriteBackupTicket(c.dataDir, time.Now().Add(ticketLife))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme(c)+"://"+c.listen+"/backup", http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := ownClient(c).Do(req)
	if err != nil {
		return fmt.Errorf("a server runs on %s and does not answer at %s: %w. Give the --listen and --tls-cert it was started with", c.dataDir, c.listen, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server at %s makes no backup: %s. Is it the one of %s", c.listen, answerOf(resp), c.dataDir)
	}
	if _, err := io.Copy(f, resp.Body); err != nil {
		return fmt.Errorf("the backup broke off: %w. The server's log says why", err)
	}
	return nil
}

// ownClient talks to the server of this machine, by no proxy: that it answers is the question, not who it is.
func ownClient(c config) *http.Client {
	t := &http.Transport{}
	if c.tlsCert != "" {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec
	}
	return &http.Client{Transport: t}
}

// answerOf is what a refusal says.
func answerOf(resp *http.Response) string {
	var p struct{ Detail string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&p); err == nil && p.Detail != "" {
		return strings.TrimSuffix(p.Detail, ".")
	}
	return resp.Status
}

// restore makes a data folder of a backup.
func restore(_ context.Context, c config, stdout io.Writer) error {
	f, err := os.Open(c.file)
	if err != nil {
		return fmt.Errorf("the backup cannot be read: %w", err)
	}
	defer f.Close()
	note, err := store.Restore(f, c.dataDir, c.masterKeyFile)
	if err != nil {
		return fmt.Errorf("%s was not restored: %w", c.file, err)
	}
	fmt.Fprintf(stdout, `%s is restored: %s.
When the server starts it plans again what waited for a yes, lets nothing deploy by itself before somebody has confirmed a run of the stack, and
compares all projects with GitLab. Everybody has to sign in again. API keys and accounts that were ended since then are back: look through them.
If GitLab's token was changed since then, set the new one under VCS providers. Never start it beside the server it is a copy of: both would work.
`, c.dataDir, contents(note))
	return nil
}

func contents(n store.BackupNote) string {
	return fmt.Sprintf("%d files, %.1f MB, as of %s (Groundcrew %s)", n.Files, float64(n.Size)/1e6, n.Made.Local().Format("2006-01-02 15:04:05 MST"), n.Version)
}

// keyFile is where the master key is.
func keyFile(c config) string { return cmp.Or(c.masterKeyFile, filepath.Join(c.dataDir, "master.key")) }
