package worker

import (
	"encoding/json"
	"fmt"

	"github.com/holdfast-backup/holdfast/internal/repository"
)

// Repaired says in a SetManifest that the set is not the one that was taken: what is
// left of it, after its repository was damaged.
type Repaired struct {
	From  string   `json:"from"`  // the snapshot that it was made from
	Lost  int      `json:"lost"`  // files and directories
	Paths []string `json:"paths"` // of them; of very many, the first
}

// maxLostPaths is how many paths of what is lost are kept in a set.
const maxLostPaths = 1000

// RepairedTags are the tags of a snapshot that a repair has made, besides the one that
// says from which.
func RepairedTags() []string { return []string{DamagedTag + "=yes"} }

// RepairNotice lets the SetFile of a repaired set say what is lost.
func RepairNotice() repository.Notice {
	return repository.Notice{Path: SetFile, Limit: maxManifest, Write: writeRepaired}
}

// writeRepaired keeps all that the old manifest says. Of one that is lost, the
// snapshot's tags say the most important.
func writeRepaired(old []byte, s repository.Snapshot, lost []repository.LostNode) ([]byte, error) {
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(old, &fields) != nil || len(fields) == 0 {
		fields = map[string]json.RawMessage{"version": json.RawMessage("1")}
		for name, key := range map[string]string{"installation": "installation", "site_slug": "site", "run_type": "run_type"} {
			if v, ok := s.Tag(key); ok {
				fields[name], _ = json.Marshal(v) // a string can be written
			}
		}
		for _, name := range []string{"set", "execution", "fence"} {
			if v, ok := s.Tag(name); ok && json.Valid([]byte(v)) {
				fields[name] = json.RawMessage(v)
			}
		}
	}
	r := Repaired{From: s.ID, Lost: len(lost)}
	for _, l := range lost[:min(len(lost), maxLostPaths)] {
		r.Paths = append(r.Paths, l.Path)
	}
	var before SetManifest
	if json.Unmarshal(old, &before) == nil && before.Repaired != nil { // repaired again
		r.Lost += before.Repaired.Lost
		r.Paths = append(before.Repaired.Paths, r.Paths...)
		r.Paths = r.Paths[:min(len(r.Paths), maxLostPaths)]
	}
	var err error
	if fields["repaired"], err = json.Marshal(r); err != nil {
		return nil, fmt.Errorf("encode set manifest: %w", err)
	}
	return json.MarshalIndent(fields, "", "  ")
}

// warning is what whoever restores the set is told.
func (r *Repaired) warning() string {
	example := ""
	if len(r.Paths) > 0 {
		example = fmt.Sprintf(", such as %q", r.Paths[0])
	}
	return fmt.Sprintf("the backup set is INCOMPLETE: %d files or directories were lost in its repository%s; its %s names them", r.Lost, example, SetFile)
}
