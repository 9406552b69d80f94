package store

import (
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// A stream is a source that is read downwards.
type stream struct {
	prefix    string
	c         *bolt.Cursor
	id, value string // of the present key; "" at the end
}

// read takes in where the cursor is.
func (s *stream) read(k, v []byte) {
	s.id, s.value = "", ""
	if hasPrefix(k, s.prefix) {
		s.id, s.value = string(k[len(s.prefix):]), string(v)
	}
}

// A confluence reads several sources as if they were one: each id once, the newest first. There may be thousands of them, of which few
// are read beyond their newest id.
type confluence struct {
	streams []*stream // that have more, by their present ids; the last one is its turn
}

// merge begins to read sources below the cursor, "" for the newest id.
func (tx *Tx) merge(sources []source, cursor string) *confluence {
	m := &confluence{}
	for _, src := range sources {
		s := &stream{prefix: src.prefix, c: tx.b.Bucket([]byte(src.bucket)).Cursor()}
		s.read(seekBack(s.c, src.prefix, cursor))
		if s.id != "" {
			m.streams = append(m.streams, s)
		}
	}
	slices.SortFunc(m.streams, byID)
	return m
}

func byID(a, b *stream) int { return strings.Compare(a.id, b.id) }

// id is the present id, "" at the end.
func (m *confluence) id() string {
	if len(m.streams) == 0 {
		return ""
	}
	return m.streams[len(m.streams)-1].id
}

// value is what the present key holds; not to be asked at the end.
func (m *confluence) value() string { return m.streams[len(m.streams)-1].value }

// next goes on to the next older id.
func (m *confluence) next() {
	for was := m.id(); was != "" && m.id() == was; {
		last := len(m.streams) - 1
		s := m.streams[last]
		s.read(s.c.Prev())
		m.streams = m.streams[:last]
		if s.id != "" {
			i, _ := slices.BinarySearchFunc(m.streams, s, byID)
			m.streams = slices.Insert(m.streams, i, s)
		}
	}
}
