package dispatch_test

import (
	"strconv"
	"time"

	"github.com/holdfast-backup/holdfast/internal/worker"
)

func itoa[T ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

func fastPoll(c *worker.Config) { c.Poll = 50 * time.Millisecond }
