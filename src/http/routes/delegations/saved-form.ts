import { z } from 'zod'
import type { AppContext } from '../../env.ts'
import type { Tried } from '../../pages/delegations.ts'
import type { OwnCookie } from '../../sign-in/cookies.ts'

/** What somebody had filled in when their sign-in had become too old for it. */
export interface SavedForm {
  /** Until they have signed in again. What is too long for a browser to keep is not. */
  keep(c: AppContext, person: string, tried: Tried): void
  /** Once. Undefined where there is nothing, it is older than 15 minutes, or another person's. */
  take(c: AppContext, person: string): Tried | undefined
}

export interface SavedFormDeps {
  readonly cookie: OwnCookie
  /** Encrypts for this service alone; `open` throws where it was not sealed for that context here, or was changed. */
  readonly seal: {
    close(context: string, value: unknown): Uint8Array
    open(context: string, sealed: Uint8Array): unknown
  }
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

const secondsMax = 15 * 60
// A browser keeps 4,096 bytes of a cookie, its name and what it says of itself included (RFC 6265 §6.1).
const lengthMax = 3_800
const context = 'kept lend form'

const savedSchema = z.strictObject({
  until: z.number(),
  person: z.string(),
  tried: z.strictObject({
    agent: z.string(),
    objects: z.array(z.string()),
    more: z.string(),
    subAgents: z.array(z.string()),
    seconds: z.string(),
    purpose: z.string(),
    standing: z.boolean(),
  }),
})

/**
 * In this browser alone, sealed: with the session it would lie where whoever stole one can put words that its owner then
 * finds filled in after their own sign-in. The form comes again with nothing done: they press it once more.
 */
export function createSavedForm({ cookie, seal, now }: SavedFormDeps): SavedForm {
  return {
    keep(c, person, form) {
      const { agent, objects, subAgents, seconds, purpose } = form
      const attempt = {
        agent,
        objects,
        more: form.more,
        subAgents,
        seconds,
        purpose,
        standing: form.standing,
      }
      const sealed = seal.close(context, { until: now() + secondsMax * 1_000, person, tried: attempt })
      const value = Buffer.from(sealed).toString('base64url')
      if (value.length > lengthMax) return
      c.header('set-cookie', cookie.line(value, secondsMax), { append: true })
    },
    take(c, person) {
      const value = cookie.read(c)
      if (value === undefined) return undefined
      cookie.remove(c)
      const found = savedSchema.safeParse(opened(value))
      return found.success && found.data.person === person && found.data.until > now()
        ? found.data.tried
        : undefined
    },
  }

  function opened(value: string): unknown {
    try {
      return seal.open(context, Buffer.from(value, 'base64url'))
    } catch {
      // Of another key, or nobody's: there is nothing to show.
      return undefined
    }
  }
}
