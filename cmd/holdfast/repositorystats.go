package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// usageReport is what stats prints as JSON.
type usageReport struct {
	Repository   string    `json:"repository"` // the id in its config
	Location     string    `json:"location"`
	Snapshots    int       `json:"snapshots"`
	Files        int64     `json:"files"`
	LogicalBytes int64     `json:"logical_bytes"`
	Packs        int       `json:"packs"`
	Condemned    packCount `json:"condemned"`
	Blobs        int       `json:"blobs"`
	UniqueBytes  int64     `json:"unique_bytes"`
	BlobBytes    int64     `json:"blob_bytes"`
	StoredBytes  int64     `json:"stored_bytes"`
	Dedup        float64   `json:"deduplication"`
	Compression  float64   `json:"compression"`
	Total        float64   `json:"total"`
}

func (a *app) repositoryStatsCommand() *cobra.Command {
	var in placeFlags
	cmd := &cobra.Command{
		Use: "stats [REPOSITORY]", Short: "Say how much a repository holds, and in how little room", Args: args(1),
		Long: "Stats adds up what all backup sets restore to, and what they take. It reads the index and all directories.\n\n" + placeHelp,
	}
	in.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, _, err := a.openRepository(cmd.Context(), in, args)
		if err != nil {
			return err
		}
		s, err := p.Stats(cmd.Context())
		if err != nil {
			return err
		}
		v := usageReport{
			Repository: p.ID(), Location: p.location, Snapshots: s.Snapshots, Files: s.Files, LogicalBytes: s.LogicalBytes, Packs: s.Packs, Condemned: newPackCount(s.Condemned), Blobs: s.Blobs,
			UniqueBytes: s.UniqueBytes, BlobBytes: s.BlobBytes, StoredBytes: s.StoredBytes,
			Dedup: s.Dedup(), Compression: s.Compression(), Total: s.Total(),
		}
		return a.print(v, "", func(row func(...any)) {
			row("repository", p.ID()[:12])
			row("location", p.location)
			row("snapshots", s.Snapshots)
			row("restores to", fmt.Sprintf("%s in %d files", size(s.LogicalBytes), s.Files))
			row("unique", fmt.Sprintf("%s in %d pieces", size(s.UniqueBytes), s.Blobs))
			row("compressed", fmt.Sprintf("%s in %d packs", size(s.BlobBytes), s.Packs))
			if c := s.Condemned; c.Packs > 0 {
				row("condemned", fmt.Sprintf("%s in %d packs", size(c.Bytes), c.Packs))
			}
			row("stored", size(s.StoredBytes))
			row("deduplication", fmt.Sprintf("%.2f", v.Dedup))
			row("compression", fmt.Sprintf("%.2f", v.Compression))
			row("together", fmt.Sprintf("%.2f", v.Total))
		})
	}
	return cmd
}
