package store

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/crypto/chacha20poly1305"

	bolt "go.etcd.io/bbolt"
)

// A sealer encrypts with XChaCha20-Poly1305. Every ciphertext is bound to its record: opening it as another
// record fails (S39).
type sealer struct{ aead cipher.AEAD }

func newSealer(key []byte) (sealer, error) {
	aead, err := chacha20poly1305.NewX(key)
	return sealer{aead}, err
}

func (s sealer) lock(record string, plain []byte) []byte {
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(plain)+s.aead.Overhead())
	_, _ = rand.Read(nonce) // never fails since Go 1.24: it ends the process instead
	return s.aead.Seal(nonce, nonce, plain, []byte(record))
}

// lockSame is lock for what may be known to be the same when it is: the nonce is made of record and text.
func (s sealer) lockSame(record string, plain []byte) []byte {
	sum := sha256.Sum256(append([]byte(record+"\x00"), plain...))
	nonce := append(make([]byte, 0, s.aead.NonceSize()+len(plain)+s.aead.Overhead()), sum[:s.aead.NonceSize()]...)
	return s.aead.Seal(nonce, nonce, plain, []byte(record))
}

func (s sealer) open(record string, sealed []byte) ([]byte, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return nil, fmt.Errorf("sealed %s is cut off", record)
	}
	plain, err := s.aead.Open(nil, sealed[:n], sealed[n:], []byte(record))
	if err != nil {
		return nil, fmt.Errorf("sealed %s does not open with this master key", record)
	}
	return plain, nil
}

func (s sealer) lockText(record, plain string) string {
	if plain == "" {
		return ""
	}
	return base64.StdEncoding.EncodeToString(s.lock(record, []byte(plain)))
}

func (s sealer) openText(record, sealed string) (string, error) {
	if sealed == "" {
		return "", nil
	}
	raw, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return "", fmt.Errorf("sealed %s is damaged", record)
	}
	plain, err := s.open(record, raw)
	return string(plain), err
}

// loadKey reads the master key, 32 bytes in base64. Only for a fresh database is an absent one made.
func loadKey(file string, fresh bool) ([]byte, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && fresh {
		key := make([]byte, chacha20poly1305.KeySize)
		_, _ = rand.Read(key) // as above
		text := base64.StdEncoding.EncodeToString(key) + "\n"
		if err := writeFile(file, []byte(text)); err != nil {
			return nil, fmt.Errorf("the master key %s cannot be written: %w", file, err)
		}
		return key, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the master key cannot be read: %w. Without it the stored secrets cannot be opened; put the file back or name it with --master-key-file", err)
	}
	key, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(raw)))
	if err != nil || len(key) != chacha20poly1305.KeySize {
		return nil, fmt.Errorf("the master key in %s is not 32 bytes in base64. Nothing was changed", file)
	}
	return key, nil
}

const keyCheckRecord = "meta/keycheck"

// keyCheck returns the text sealed with the data's key, nil for a fresh database.
func (s *Store) keyCheck() (sealed []byte, err error) {
	err = s.db.View(func(b *bolt.Tx) error {
		if meta := b.Bucket([]byte("meta")); meta != nil {
			sealed = bytes.Clone(meta.Get([]byte("keycheck")))
		}
		return nil
	})
	return sealed, err
}

// checkKey refuses a key that is not the one the data was sealed with, before anything is written (S40).
func (s *Store) checkKey(file string, sealed []byte) error {
	if sealed == nil {
		return nil
	}
	if _, err := s.seal.open(keyCheckRecord, sealed); err != nil {
		return fmt.Errorf("the master key in %s is not the one this data was sealed with. Nothing was changed; put the right key back", file)
	}
	return nil
}

func (s *Store) putKeyCheck() error {
	return s.db.Update(func(b *bolt.Tx) error {
		return b.Bucket([]byte("meta")).Put([]byte("keycheck"), s.seal.lock(keyCheckRecord, []byte("groundcrew")))
	})
}
