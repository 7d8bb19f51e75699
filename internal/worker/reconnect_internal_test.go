package worker

import (
	"testing"
	"time"
)

// TestReconnectDelay keeps a worker that is refused, because it was removed, from
// asking twice a second for ever, and one whose control plane starts anew from
// being taken for silent.
func TestReconnectDelay(t *testing.T) {
	t.Parallel()
	for attempts, c := range map[int]struct{ least, most time.Duration }{
		1: {reconnectWait, 2 * reconnectWait}, reconnectSoon: {reconnectWait, 2 * reconnectWait},
		reconnectSoon + 4: {4 * reconnectWait, 5 * reconnectWait}, 1 << 40: {reconnectMost * reconnectWait, (reconnectMost + 1) * reconnectWait},
	} {
		for range 100 {
			if d := reconnectDelay(attempts); d < c.least || d >= c.most {
				t.Fatalf("attempt %d: got %s, want %s to %s", attempts, d, c.least, c.most)
			}
		}
	}
}
