// ACB_DISABLED; of a domain that is trusted, of a workstation, of a server; ACB_AUTOLOCK; ACB_PW_EXPIRED
// (MS-SAMR 2.2.1.12).
const closed = 0x1 | 0x40 | 0x80 | 0x100 | 0x400 | 0x2_0000
// ACB_PWNOTREQ, ACB_PWNOEXP.
const withoutEnd = 0x4 | 0x200

/**
 * As a server asks at a sign-in (`sam_account_ok`), but for its hours: by rpcclient's `queryuser`.
 *
 * @throws Error where it does not let the account in, or does not say whether.
 */
export function assertSignsIn(answer: string, now: number): void {
  // Names and descriptions come before it.
  const lines = answer.slice(answer.lastIndexOf('\n\tLogon Time ') + 1).split('\n')
  const said = (form: RegExp) => lines.flatMap((line) => form.exec(line)?.[1] ?? [])[0]
  const flagsText = said(/^\tacb_info :\t0x([0-9a-f]+)$/)
  const end = timeOf(said(/^\tKickoff Time +:\t([^\t]+)$/))
  const change = timeOf(said(/^\tPassword must change Time *:\t([^\t]+)$/))
  if (flagsText === undefined) throw new Error('The server does not say whether the account may sign in.')
  const flags = Number.parseInt(flagsText, 16)
  const hasEnded = end !== 0 && end <= now
  const mustChange = (flags & withoutEnd) === 0 && change <= now
  if ((flags & closed) !== 0 || hasEnded || mustChange)
    throw new Error('The account is disabled, locked or expired.')
}

/** ms: `Sun, 29 Nov 2026 06:58:31 UTC`, or `never`, which some say by a time that never is. */
function timeOf(text = ''): number {
  if (text === 'never' || /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{5,} /.test(text))
    return Number.POSITIVE_INFINITY
  const at = Date.parse(text)
  if (Number.isNaN(at)) throw new Error('The server does not say whether the account may sign in.')
  return at < 0 ? Number.POSITIVE_INFINITY : at
}
