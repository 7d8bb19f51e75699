// Package expire decides which backup sets of a job go, and lets them go.
//
// [Decide] is pure: the plan that a dry run shows is the plan that
// [Plan.Execute] carries out, in the transaction that read what it was made of.
//
// A set that goes is not deleted here: its copies become EXPIRED, which hides
// them from readers at once; whoever may delete removes their snapshots then.
//
// Terms: a good set has a copy that is COMPLETE or VERIFIED, and nothing in it is
// known to be damaged. A unit is what a retention counts: a set, or a
// generation, which is a FULL set and what follows it until the next FULL; sets
// before the first FULL are one generation. A unit counts when it holds a good
// set that is not protected.
package expire
