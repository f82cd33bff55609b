package parts

import "testing"

// TestFreePort_GivesNoneTwice: a program that gets three ports listens on three.
func TestFreePort_GivesNoneTwice(t *testing.T) {
	given := map[int]bool{}
	for range 1000 {
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if given[port] {
			t.Fatalf("%d was given twice", port)
		}
		given[port] = true
	}
}
