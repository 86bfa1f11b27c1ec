// What ids and names of settings are made of most.
const letters = [...'abcdefghijklmnopqrstuvwxyz0123456789-_./@']

/** Each text that is one slip of the keys away: a character too many, too few, another or in other case, two swapped. */
export function singleEdits(text: string): string[] {
  const found = new Set([text.toLowerCase()])
  for (let at = 0; at <= text.length; at += 1) {
    const [before, one, two] = [text.slice(0, at), text.charAt(at), text.charAt(at + 1)]
    const after = text.slice(at + 1)
    found.add(before + after).add(before + two + one + text.slice(at + 2))
    for (const other of [...letters, one.toUpperCase()])
      found.add(before + other + after).add(before + other + one + after)
  }
  found.delete(text)
  return [...found]
}
