import type { Truth } from '../truth.ts'

/**
 * A table of who may read what: lines `person,document`, or JSON with `person` and `document`. What it does
 * not say may not be read. `*` is everybody.
 */
export function tableTruth(text: string): Truth {
  const readers = new Map<string, Set<string>>()
  const people = new Set<string>()
  text.split('\n').forEach((line, index) => {
    const row = line.trim()
    if (row === '' || row.startsWith('#') || (index === 0 && row.replaceAll(' ', '') === 'person,document'))
      return
    const [person, document] = row.startsWith('{') ? fromJson(row, index + 1) : fromCsv(row, index + 1)
    people.add(person)
    const known = readers.get(document) ?? new Set()
    readers.set(document, known.add(person))
  })
  return {
    mayRead: async (person, document) => {
      const known = readers.get(document)
      return known !== undefined && (known.has(person) || known.has('*'))
    },
    knows: async (person) => people.has(person),
  }
}

function fromJson(row: string, number: number): [person: string, document: string] {
  const { person, document } = JSON.parse(row) as Readonly<Record<string, unknown>>
  if (typeof person !== 'string' || typeof document !== 'string') throw malformed(number)
  return [person, document]
}

/** Up to the first comma is the person; either may stand in double quotes, where two of them are one. */
function fromCsv(row: string, number: number): [person: string, document: string] {
  const fields: string[] = []
  let [field, isQuoted] = ['', false]
  for (let at = 0; at < row.length; at += 1) {
    const letter = row.charAt(at)
    if (letter === '"' && isQuoted && row.charAt(at + 1) === '"') {
      field += '"'
      at += 1
    } else if (letter === '"') isQuoted = !isQuoted
    else if (letter === ',' && !isQuoted) {
      fields.push(field.trim())
      field = ''
    } else field += letter
  }
  const [person, document] = [...fields, field.trim()]
  if (!person || !document || fields.length !== 1 || isQuoted) throw malformed(number)
  return [person, document]
}

const malformed = (number: number): Error =>
  new Error(`Line ${number} of the table is neither person,document nor {"person":…,"document":…}.`)
