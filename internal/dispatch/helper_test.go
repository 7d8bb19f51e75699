package dispatch_test

import (
	"crypto/tls"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast/internal/worker"
)

func itoa[T ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

func fastPoll(c *worker.Config) { c.Poll = 50 * time.Millisecond }

// insecure accepts any certificate: what is tested is whom the server lets in.
func insecure() nats.Option {
	return nats.Secure(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
}

func fastBeat(c *worker.Config) { c.Beat = 200 * time.Millisecond }
