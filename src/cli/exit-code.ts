/** Commands that judge: their 1 says that something is wrong, and cannot also say that nobody knows. */
export const judges: readonly string[] = ['audit verify', 'doctor', 'drift', 'model test']

/** What a command line (without node and script) ends with where it could not do what it was asked for. */
export function failureCode(argv: readonly string[]): 1 | 2 {
  const [name = '', ofIt = ''] = argv.filter((word) => !word.startsWith('-'))
  return judges.includes(name) || judges.includes(`${name} ${ofIt}`) ? 2 : 1
}
