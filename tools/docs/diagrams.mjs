// Parses every Mermaid diagram of the Markdown files that are its arguments. Prints
// file, number and error of each that is wrong, and exits with 1 if there is one.
import { readFileSync } from 'node:fs'
import { JSDOM } from 'jsdom'

// Mermaid cleans labels with DOMPurify, which needs a document.
const { window } = new JSDOM('')
globalThis.window = window
globalThis.document = window.document
const { default: mermaid } = await import('mermaid')
mermaid.initialize({ startOnLoad: false })

let diagrams = 0
let faults = 0
for (const file of process.argv.slice(2)) {
  let number = 0
  for (const [, text] of readFileSync(file, 'utf8').matchAll(/^```mermaid\n(.*?)^```/gms)) {
    diagrams++
    number++
    try {
      await mermaid.parse(text)
    } catch (fault) {
      faults++
      console.error(`${file}: diagram ${number}: ${fault.message}`)
    }
  }
}
console.log(`docs: ${diagrams} diagrams, ${faults} with faults`)
if (faults > 0 || diagrams === 0) process.exit(1)
