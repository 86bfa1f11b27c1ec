/**
 * Why nothing, or nothing whole, came back. `url_refused`, `address_refused`: it may not be asked.
 * `unreachable`: no name, no connection, no valid certificate. `timed_out`, `aborted`: by us. `too_large`:
 * headers or body over the limit. `broken`: what came is not HTTP, not its encoding, or ended early.
 */
export type OutboundReason =
  | 'url_refused'
  | 'address_refused'
  | 'unreachable'
  | 'timed_out'
  | 'aborted'
  | 'too_large'
  | 'broken'

/**
 * The only thing that a guarded fetch throws. Holds neither address nor headers nor anything that the other
 * side sent, and no `cause`: undici's own errors quote answers, which may quote the token they were asked
 * with.
 */
export class OutboundError extends Error {
  readonly reason: OutboundReason
  /** False: the other side cannot have seen the request. True: it may have, and may have acted on it. */
  readonly sent: boolean

  constructor(reason: OutboundReason, { sent, code }: { readonly sent: boolean; readonly code?: string }) {
    super(`An outbound request failed: ${reason}${code === undefined ? '' : ` (${code})`}`)
    this.name = 'OutboundError'
    this.reason = reason
    this.sent = sent
  }
}
