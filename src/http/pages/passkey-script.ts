import { readFileSync } from 'node:fs'
import { html } from 'hono/html'
import type { Html } from './layout.ts'

/** The script that forms with `data-passkey` need, by address and text. */
export const passkeyScript = {
  path: '/passkeys.js',
  text: readFileSync(new URL('./passkeys.browser.js', import.meta.url), 'utf8'),
} as const

export const scriptTag = (path: string): Html => html`<script src="${path}" defer></script>`
