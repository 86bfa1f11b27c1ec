import { z } from 'zod'

// What `PublicKeyCredential.toJSON()` gives (WebAuthn level 3 §5.1). Members that we do not know are dropped:
// browsers add some. The library judges what is in those that it reads.
const encoded = z
  .string()
  .min(1)
  .max(32_768)
  .regex(/^[A-Za-z0-9_-]+$/)
const transports = z.enum(['ble', 'cable', 'hybrid', 'internal', 'nfc', 'smart-card', 'usb'])
const credential = z.object({
  id: encoded.max(1_364),
  rawId: encoded.max(1_364),
  type: z.literal('public-key'),
})
const extensions = z.object({}).default({})

/** A passkey that a browser has just made. */
export const attestation = credential.extend({
  clientExtensionResults: extensions,
  response: z.object({
    clientDataJSON: encoded,
    attestationObject: encoded,
    // Kinds that come after us are left out, not refused.
    transports: z
      .array(z.string().max(40))
      .max(10)
      .default([])
      .transform((values) => values.flatMap((value) => transports.safeParse(value).data ?? [])),
  }),
})

/** A passkey's answer to a challenge. */
export const assertion = credential.extend({
  clientExtensionResults: extensions,
  response: z.object({
    clientDataJSON: encoded,
    authenticatorData: encoded,
    signature: encoded,
    // Whose it is: always there for a discoverable one.
    userHandle: encoded.max(88),
  }),
})

const clientData = z.object({ challenge: encoded.max(200), crossOrigin: z.literal(false).optional() })

/**
 * The challenge that was answered; undefined where there is none, or it was answered inside another site's
 * frame.
 */
export function challengeIn({
  response,
}: {
  readonly response: { readonly clientDataJSON: string }
}): string | undefined {
  try {
    const text = Buffer.from(response.clientDataJSON, 'base64url').toString('utf8')
    return clientData.safeParse(JSON.parse(text)).data?.challenge
  } catch {
    // Not JSON: what no browser makes.
    return undefined
  }
}
