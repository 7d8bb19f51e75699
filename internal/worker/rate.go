package worker

// limit takes over another limit, also for what is under way.
func (r *run) limit(bytesPerSec *int64) {
	if bytesPerSec == nil || *bytesPerSec == r.rateNow {
		return
	}
	r.log.InfoContext(r.link, "limit of bytes a second changed", "from", r.rateNow, "to", *bytesPerSec)
	r.rateNow = *bytesPerSec
	r.rate.Set(r.rateNow)
}
