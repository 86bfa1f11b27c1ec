import { z } from 'zod'
import type { DemoConsent } from '../../delegation/oauth/unasked-consents.ts'
import type { Services } from '../../delegation/registry/services.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import { type Command, command, optional } from './command.ts'

/** What speaks for people in the demo, and finds the service that writes. */
export const demoCommands = {
  demo: command(z.strictObject({}), async (_, { demoConsent, publicUrl }) => {
    assertDemo(demoConsent)
    return { url: publicUrl }
  }),
  demo_confirm: command(
    z.strictObject({ code: z.string().max(40), user: z.string() }),
    async ({ code, user }, { demoConsent }) => {
      await assertDemo(demoConsent).confirm(code, user)
      return { user }
    },
  ),
  writer: command(
    z.strictObject({ service: optional(z.string()), collection: optional(z.string()) }),
    async (request, { demoConsent, services }) => {
      if (demoConsent === undefined)
        // Whoever signs in is a person, and no person writes.
        throw new AppError('forbidden', {
          public:
            'A service writes here, and REMIT_TOKEN needs its access token (scope docs.write). How one is had: docs/your-own-documents.md, "Outside the demo".',
        })
      return { service: request.service ?? (await theWriter(services, request.collection)) }
    },
  ),
} as const satisfies Record<string, Command>

function assertDemo(consent: DemoConsent | undefined): DemoConsent {
  if (consent !== undefined) return consent
  throw new AppError('forbidden', {
    public:
      'Tokens are given out like this in the demo only. Elsewhere sign in (remit login), exchange, or ask an issuer of TRUSTED_ISSUERS.',
  })
}

/** The service that writes to a collection, or the only one there is; never one of several. */
async function theWriter(services: Services, collection: string | undefined): Promise<string> {
  const able = (await services.list()).filter(
    ({ collections }) => collection === undefined || collections.includes(collection),
  )
  const [only, ...otherServices] = able.map(({ name }) => name)
  const writingTo = collection === undefined ? '' : ` that writes to ${collection}`
  if (only === undefined)
    throw invalid(
      'service',
      `There is no service${writingTo}. Add one: npm run remit -- service add NAME --collection X.`,
    )
  if (otherServices.length > 0)
    throw invalid(
      'service',
      `Several services fit: ${[only, ...otherServices].join(', ')}. Name one with --service.`,
    )
  return only
}
