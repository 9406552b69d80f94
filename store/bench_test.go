package store

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/oklog/ulid/v2"
	bolt "go.etcd.io/bbolt"
)

// writers is how many deliveries arrive at once, and payload the size of a usual push.
const (
	writers = 32
	payload = 5 << 10
)

// BenchmarkAddDelivery is what stands between GitLab's request and our answer: a delivery, durable.
func BenchmarkAddDelivery(b *testing.B) {
	s := open(b)
	body := make([]byte, payload)
	headers := map[string]string{"X-Gitlab-Event": "Push Hook", "X-Gitlab-Instance": "https://gitlab.example"}
	var n atomic.Int64
	inParallel(b, func() error {
		_, _, err := s.AddDelivery(Delivery{Key: fmt.Sprint("key-", n.Add(1)), Event: "Push Hook", Headers: headers}, body)
		return err
	})
}

// BenchmarkBareBatch is the floor under it: the same bytes through bbolt alone.
func BenchmarkBareBatch(b *testing.B) {
	db, err := bolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.MaxBatchDelay = batchDelay
	bucket := []byte("bodies")
	if err := db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket(bucket); return err }); err != nil {
		b.Fatal(err)
	}
	body := make([]byte, payload)
	inParallel(b, func() error {
		key := []byte(ulid.Make().String())
		return db.Batch(func(tx *bolt.Tx) error { return tx.Bucket(bucket).Put(key, body) })
	})
}

func inParallel(b *testing.B, fn func() error) {
	b.SetBytes(payload)
	b.SetParallelism(max(1, writers/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := fn(); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
