/**
 * Takes what looks like a credential out of a text: a JWT, whatever follows an authorization scheme, the members of a
 * form that hold one, and these secrets wherever they stand. A last net: no message is made of such in the first place.
 */
export const scrubbed = (text: string, secrets: readonly string[] = []): string =>
  secrets
    .filter((secret) => secret !== '')
    .reduce((left, secret) => left.replaceAll(secret, removed), text)
    .replaceAll(/\beyJ[\w-]+\.[\w-]+\.[\w-]*/g, removed)
    .replaceAll(/\b(bearer|dpop|basic)\s+[\w.~+/=-]{8,}/gi, `$1 ${removed}`)
    .replaceAll(
      /\b((?:access|refresh|subject|actor|id)_token|client_assertion|client_secret|device_code|auth_req_id)=[^&\s]+/gi,
      `$1=${removed}`,
    )

const removed = '[removed]'
