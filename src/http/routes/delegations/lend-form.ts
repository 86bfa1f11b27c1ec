import { text } from '@remit/contract/text'
import { z } from 'zod'
import type { DelegationDraft } from '../../../delegation/lending/own-delegations.ts'
import { invalid } from '../../../kernel/errors.ts'
import { type FgaObject, splitObject } from '../../../kernel/ids.ts'
import type { AppContext } from '../../env.ts'
import { type Fields, textOf, textsOf } from '../../middleware/form.ts'
import type { Tried } from '../../pages/delegations.ts'
import type { OwnCookie } from '../../sign-in/cookies.ts'

/** The form as it was sent. `shown`: the digest of all agents that its page showed. */
export interface LentForm extends Tried {
  readonly once: string
  readonly shown: string
}

/** The lend form as it was filled in. */
export function lendFormOf(fields: Fields): LentForm {
  return {
    agent: textOf(fields['agent']),
    objects: textsOf(fields['object']),
    more: textOf(fields['more']),
    subAgents: textsOf(fields['sub_agent']),
    seconds: textOf(fields['seconds']),
    purpose: textOf(fields['purpose']),
    standing: textOf(fields['standing']) === 'yes',
    once: textOf(fields['once']),
    shown: textOf(fields['shown']),
  }
}

/** What it asks for; the feature judges it. */
export function wishOf(
  { agent, objects, more: typedObjects, subAgents, seconds, purpose, standing: isStanding }: Tried,
  { now, id }: { readonly now: number; readonly id: string },
): DelegationDraft {
  const typed = typedObjects.split(/\s+/).filter((line) => line !== '')
  const scope = [...objects, ...typed].filter(
    (object): object is FgaObject => splitObject(object).type !== '',
  )
  if (objects.length + typed.length === 0) throw invalid('scope', 'Choose what to lend.')
  const unnamed = typed.find((line) => !/^(folder|document|collection|organization):./.test(line))
  if (unnamed !== undefined)
    throw invalid('scope', `Write folder:${unnamed} for a folder, or document:${unnamed} for a document.`)
  if (scope.length < objects.length + typed.length) throw invalid('scope', 'Choose what to lend.')
  if (!/^\d{1,9}$/.test(seconds)) throw invalid('seconds', 'Choose an end.')
  const purposeText = text(1, 500).safeParse(purpose)
  if (!purposeText.success) throw invalid('purpose', 'Say in at most 500 characters what it is for.')
  return {
    id,
    agent,
    scope,
    subAgents: subAgents.filter((sub) => sub !== agent),
    purpose: purposeText.data,
    standing: isStanding,
    expiresAt: new Date(now + Number(seconds) * 1_000),
  }
}

/** What somebody had filled in when their sign-in had become too old for it. */
export interface SavedForm {
  /** Until they have signed in again. What is too long for a browser to keep is not. */
  keep(c: AppContext, person: string, tried: Tried): void
  /** Once. Undefined where there is nothing, it is older than 15 minutes, or another person's. */
  take(c: AppContext, person: string): Tried | undefined
}

export interface SavedFormDeps {
  readonly cookie: OwnCookie
  /**
   * Encrypts for this service alone; `open` throws where it was not sealed for that context here, or was
   * changed.
   */
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

const triedSchema = z.object({
  agent: z.string(),
  objects: z.array(z.string()),
  more: z.string(),
  subAgents: z.array(z.string()),
  seconds: z.string(),
  purpose: z.string(),
  standing: z.boolean(),
})
const savedSchema = z.strictObject({ until: z.number(), person: z.string(), tried: triedSchema })

/**
 * In this browser alone, sealed: with the session it would lie where whoever stole one can put words that its
 * owner then finds filled in after their own sign-in. The form comes again with nothing done: they press it
 * once more.
 */
export function createSavedForm({ cookie, seal, now }: SavedFormDeps): SavedForm {
  return {
    keep(c, person, form) {
      const attempt = triedSchema.parse(form)
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
