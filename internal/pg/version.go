package pg

import "fmt"

// Version is a server's version as server_version_num gives it: 150018 is 15.18.
type Version int

// The oldest and the newest major version that this package knows.
const (
	OldestMajor = 13
	NewestMajor = 18
)

// Major returns the major version.
func (v Version) Major() int { return int(v) / 10000 }

// String returns the version as people write it.
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major(), int(v)%10000) }

// Supported reports whether the version is one that this package knows.
func (v Version) Supported() bool { return v.Major() >= OldestMajor && v.Major() <= NewestMajor }

// ManifestVersion returns the version of backup_manifest that a server of this
// version writes, and the highest one its pg_verifybackup reads.
func (v Version) ManifestVersion() int {
	if v.Major() >= 17 {
		return 2
	}
	return 1
}

// TablespaceDir returns the name of the directory that a cluster keeps inside
// each tablespace: several clusters may share the outer one.
func TablespaceDir(major int, catalogVersion uint32) string {
	return fmt.Sprintf("PG_%d_%d", major, catalogVersion)
}
