// What ids and names of settings are made of most.
const letters = [...'abcdefghijklmnopqrstuvwxyz0123456789-_./@']

/**
 * Each text that is one slip of the keys away: a character too many, too few, another or in other case, two
 * swapped.
 */
export function singleEdits(text: string): string[] {
  const found = new Set([text.toLowerCase()])
  for (let index = 0; index <= text.length; index += 1) {
    const [head, character, two] = [text.slice(0, index), text.charAt(index), text.charAt(index + 1)]
    const tail = text.slice(index + 1)
    found.add(head + tail).add(head + two + character + text.slice(index + 2))
    for (const letter of [...letters, character.toUpperCase()])
      found.add(head + letter + tail).add(head + letter + character + tail)
  }
  found.delete(text)
  return [...found]
}
