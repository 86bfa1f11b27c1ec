import { readFileSync } from 'node:fs'
import { html } from 'hono/html'
import type { Html } from './layout.ts'

/** The same bytes for everybody, signed in or not. */
export interface StaticFile {
  readonly body: string | Uint8Array<ArrayBuffer>
  readonly headers: Readonly<Record<string, string>>
}

const read = (name: string) => new Uint8Array(readFileSync(new URL(name, import.meta.url)))
const text = (name: string) => readFileSync(new URL(name, import.meta.url), 'utf8')

const icon = (size: 192 | 512): StaticFile => ({
  body: read(`./icons/icon-${size}.png`),
  headers: { 'content-type': 'image/png', 'cache-control': 'public, max-age=86400' },
})

const manifest = {
  name: 'Remit',
  short_name: 'Remit',
  description: 'Answer what agents ask of you.',
  // What it is stays the same wherever it starts.
  id: '/approvals',
  start_url: '/approvals',
  // The sign-in and what was lent belong to it.
  scope: '/',
  display: 'standalone',
  background_color: '#f4f4f1',
  theme_color: '#0b5b4f',
  icons: [
    { src: '/approvals/icon-192.png', sizes: '192x192', type: 'image/png', purpose: 'any maskable' },
    { src: '/approvals/icon-512.png', sizes: '512x512', type: 'image/png', purpose: 'any maskable' },
    { src: '/approvals/icon.svg', sizes: 'any', type: 'image/svg+xml' },
  ],
}

/** Files by which a phone takes `/approvals` for an app, and by which it is told: path → answer. */
export const installable = {
  '/approvals/manifest.webmanifest': {
    body: JSON.stringify(manifest),
    headers: { 'content-type': 'application/manifest+json' },
  },
  '/approvals/sw.js': {
    body: text('./push-worker.browser.js'),
    headers: {
      'content-type': 'text/javascript; charset=utf-8',
      // The page itself has no slash at its end, which the worker's own folder has.
      'service-worker-allowed': '/approvals',
      // A worker asks nobody for anything.
      'content-security-policy': "default-src 'none'",
    },
  },
  '/approvals/push.js': {
    body: text('./push.browser.js'),
    headers: { 'content-type': 'text/javascript; charset=utf-8' },
  },
  '/approvals/icon-192.png': icon(192),
  '/approvals/icon-512.png': icon(512),
  '/approvals/icon.svg': {
    body: text('./icons/icon.svg'),
    headers: { 'content-type': 'image/svg+xml', 'content-security-policy': "default-src 'none'" },
  },
} satisfies Readonly<Record<string, StaticFile>>

/** For the head of a page from which it can be put on the home screen. */
export const installableHead: Html = html`<link rel="manifest" href="/approvals/manifest.webmanifest">
<link rel="icon" href="/approvals/icon.svg" type="image/svg+xml">
<link rel="apple-touch-icon" href="/approvals/icon-192.png">
<meta name="theme-color" content="#0b5b4f">`
