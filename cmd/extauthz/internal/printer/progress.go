package printer

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Without a bar, a line of progress is written every lineEvery. With one, it is drawn for
// work that takes longer than barAfter, and drawn again every barEvery.
const (
	lineEvery = 5 * time.Second
	barAfter  = 500 * time.Millisecond
	barEvery  = 100 * time.Millisecond
	barLength = 20
)

// Progress reports how far a long task is. On a terminal it redraws one line, and removes
// that line at the end. Elsewhere it writes a line now and then.
type Progress struct {
	w        io.Writer
	unit     string
	now      func() time.Time
	terminal bool
	begun    time.Time
	wait     sync.WaitGroup // for the goroutine that Wait starts
	quit     chan struct{}  // closed to end that goroutine

	mu    sync.Mutex // guards the fields below
	shown time.Time
	drawn bool
}

// NewProgress begins to report on a stream, usually standard error. unit names what is
// counted, such as rows.
func NewProgress(w io.Writer, unit string) *Progress {
	return &Progress{w: w, unit: unit, now: time.Now, begun: time.Now(), terminal: Terminal(w)}
}

// Set reports how much of a total is done; a total of 0 means that it is unknown.
func (p *Progress) Set(title string, done, total int64) {
	text := fmt.Sprintf("%s: %d %s", title, done, p.unit)
	if total > 0 {
		text = fmt.Sprintf("%s: %d of %d %s", title, done, total, p.unit)
		if filled := int(barLength * min(done, total) / total); p.terminal {
			text = fmt.Sprintf("[%-*s] %s", barLength, strings.Repeat("#", filled), text)
		}
	}
	p.print(text)
}

// Wait shows, until End, that a task of unknown progress is running.
func (p *Progress) Wait(title string) {
	p.quit = make(chan struct{})
	tick := time.NewTicker(barEvery)
	p.wait.Go(func() {
		defer tick.Stop()
		for {
			select {
			case <-p.quit:
				return
			case <-tick.C:
				p.print(fmt.Sprintf("%s: %v so far", title, p.now().Sub(p.begun).Round(time.Second)))
			}
		}
	})
}

// print shows a line, unless the last one was too short a time ago.
func (p *Progress) print(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, first, every := p.now(), lineEvery, lineEvery
	if p.terminal {
		first, every = barAfter, barEvery
	}
	if now.Sub(p.begun) < first || now.Sub(p.shown) < every {
		return
	}
	p.shown = now
	if !p.terminal {
		_, _ = fmt.Fprintln(p.w, text)
		return
	}
	p.drawn = true
	if columns := terminalWidth(p.w); columns > 0 {
		text = cut(text, columns-1)
	}
	_, _ = io.WriteString(p.w, "\r\x1b[K"+text)
}

// End removes the line, so that the next output is alone.
func (p *Progress) End() {
	if p.quit != nil {
		close(p.quit)
		p.wait.Wait()
		p.quit = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		_, _ = io.WriteString(p.w, "\r\x1b[K")
		p.drawn = false
	}
}
