package web

import (
	"net/http"
	"strings"

	"groundcrew/store"
)

// backupPath is where groundcrew backup asks a server that runs. It holds hashes of passwords and everything that is not sealed,
// so no role opens it, only a ticket that somebody put into the data folder.
const backupPath = "/backup"

// getBackup streams a backup. An error after it began ends the connection, and what came until then says that it is cut off.
func (s *Server) getBackup(c *request) error {
	_, token, _ := strings.Cut(c.Request().Header.Get("Authorization"), " ")
	ok, err := s.st.SpendBackupTicket(token)
	if err != nil {
		return err
	}
	if !ok {
		return errUnauthorized
	}
	s.log.Info("a backup is being made")
	c.Response().Header().Set("Content-Type", "application/zstd")
	note, err := s.st.Backup(c.Request().Context(), s.o.Version, c.Response())
	if err != nil && c.Response().Committed {
		s.log.Error("a backup broke off", "error", err)
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		return err
	}
	s.log.Info("a backup was made", "files", note.Files, "bytes", note.Size)
	return s.st.Update(func(tx *store.Tx) error {
		return tx.Audit(store.AuditEntry{By: "groundcrew backup", Action: "backup.make", Address: c.RealIP()})
	})
}
