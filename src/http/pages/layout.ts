import { createHash } from 'node:crypto'
import { html, raw } from 'hono/html'

/** Escaped HTML. */
export type Html = ReturnType<typeof html>

export interface PageOptions {
  readonly title: string
  readonly body: Html
  /** More for the document's head. */
  readonly head?: Html
}

/** What is wrong, where anything is. */
export const problemLine = (problem: string | undefined): Html | string =>
  problem === undefined ? '' : html`<p class="problem" role="alert">${problem}</p>`

/** What was just done, where anything was. */
export const doneLine = (words: string | undefined): Html | string =>
  words === undefined ? '' : html`<p class="done" role="status">${words}</p>`

/** A field of a form that nobody fills in. */
export const hiddenField = (name: string, value: string): Html =>
  html`<input type="hidden" name="${name}" value="${value}">`

/** A box to tick, with what it stands for. */
export const checkLine = (name: string, value: string, label: Html, isTicked = false): Html =>
  html`<label class="line"><input type="checkbox" name="${name}" value="${value}"${isTicked ? html` checked` : ''}> <span>${label}</span></label>`

/** One of what a field offers, as it is sent and as it is read. */
export type Choice = readonly [value: string, label: string]

/** What a field offers to choose from. */
export const optionList = (choices: readonly Choice[], chosen: string): readonly Html[] =>
  choices.map(
    ([value, label]) =>
      html`<option value="${value}"${value === chosen ? html` selected` : ''}>${label}</option>`,
  )

/** One page for people: nothing from elsewhere, readable without its style, working without a script. */
export function page({ title, body, head }: PageOptions): string {
  return String(html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title} · Remit</title>
<style>${raw(style)}</style>
${head ?? ''}
</head>
<body>
<header><span class="mark" aria-hidden="true">◖</span> Remit</header>
<main>${body}</main>
</body>
</html>`)
}

/** What a page may do beside showing itself. */
export interface PageRights {
  /** Origins that a form's answer may redirect to; browsers hold redirects to the same list. */
  readonly formTargets?: readonly string[]
  /** Whether it runs a script of ours; no page runs any other. */
  readonly script?: boolean
  /** It can be put on a home screen, and its script asks us. */
  readonly app?: boolean
}

/**
 * Headers of every page: what it may load (its own style only), where its forms may lead, and that nobody
 * frames it.
 */
export function pageHeaders({
  formTargets = [],
  script = false,
  app = false,
}: PageRights = {}): Record<string, string> {
  return {
    'content-security-policy': [
      "default-src 'none'",
      `style-src '${styleDigest}'`,
      `script-src ${script ? "'self'" : "'none'"}`,
      ...(app ? ["connect-src 'self'", "img-src 'self'", "manifest-src 'self'", "worker-src 'self'"] : []),
      `form-action ${["'self'", ...formTargets].join(' ')}`,
      "frame-ancestors 'none'",
      "base-uri 'none'",
    ].join('; '),
    'x-frame-options': 'DENY',
    'x-content-type-options': 'nosniff',
    'cache-control': 'private, no-store',
    // `no-referrer` would make browsers send `Origin: null` with our own forms, which we refuse.
    'referrer-policy': 'same-origin',
    'cross-origin-opener-policy': 'same-origin',
    'permissions-policy': 'camera=(), microphone=(), geolocation=()',
  }
}

/**
 * Whatever agrees takes no click in the first second that the page is there, nor, where there is a pointer,
 * in the first that it is over the page: one that was meant for a window which lay over it and closed must
 * not land on a yes. Also where the page had waited below for long.
 */
const wakes = `.wakes { animation: wake 1s; } @keyframes wake { 0%, 99% { pointer-events: none; } }
@media (hover: hover) { html:not(:hover) .wakes { animation: none; pointer-events: none; } }`

const style = `
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); --soft: color-mix(in srgb, currentColor 65%, transparent); --accent: light-dark(#0b5b4f, #6fd6c3); --on-accent: light-dark(#fff, #06231f); --card: light-dark(#fff, #1b1d1f); --ground: light-dark(#f4f4f1, #111314); --bad: light-dark(#a3171c, #ff9b96); --warn: light-dark(#7a4a00, #f0bd6a); --tint: color-mix(in srgb, currentColor 5%, transparent); }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; background: var(--ground); overflow-wrap: anywhere; }
header { max-width: 34rem; margin: 3rem auto 0; padding: 0 1.5rem; font-weight: 650; letter-spacing: .01em; }
.mark { color: var(--accent); }
main { max-width: 34rem; margin: 1rem auto 3rem; padding: 1.75rem 1.5rem; background: var(--card); border: 1px solid var(--line); border-radius: .75rem; }
h1 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 .75rem; } h2 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
p { margin: .5rem 0; } .soft, small { color: var(--soft); } .soft small { color: inherit; }
fieldset { border: 0; margin: 1.25rem 0 0; padding: 0; min-width: 0; } legend { font-weight: 600; padding: 0; margin-bottom: .3rem; }
label.line { display: flex; gap: .6rem; align-items: baseline; padding: .3rem 0; min-height: 2.75rem; }
label.field { display: block; margin-top: 1rem; font-weight: 600; }
input[type=text], input[type=password], select, button { min-height: 2.75rem; } input[type=text], input[type=password], select { font: inherit; font-weight: 400; width: 100%; padding: .55rem .7rem; margin-top: .25rem; border: 1px solid var(--line); border-radius: .4rem; background: var(--ground); color: inherit; }
input:focus-visible, select:focus-visible, textarea:focus-visible, button:focus-visible, summary:focus-visible, a:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.buttons { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: 1.5rem; }
button { font: inherit; font-weight: 600; padding: .6rem 1.1rem; border-radius: .4rem; border: 1px solid var(--line); background: transparent; color: inherit; cursor: pointer; }
button.quiet { border-color: transparent; color: var(--soft); } form.aside { margin-top: .75rem; }
button.wide { width: 100%; } form.way { margin: .75rem 0 0; }
.ways:not(:has(> form:not([hidden]))) + .or { display: none; } .or { display: flex; align-items: center; gap: .75rem; color: var(--soft); margin: 1.25rem 0 0; } .or::before, .or::after { content: ""; flex: 1; border-top: 1px solid var(--line); }
ul.rows { list-style: none; padding: 0; margin: 1rem 0; } ul.rows > li { border-top: 1px solid var(--line); padding: .9rem 0; } ul.rows p { margin: .15rem 0; }
.row { display: flex; flex-wrap: wrap; gap: .5rem .75rem; align-items: flex-end; justify-content: space-between; } .row > form.grow { flex: 1 1 14rem; display: flex; gap: .5rem; align-items: flex-end; } .row label { flex: 1; } .row label.field { margin-top: 0; }
.news { margin-top: 1.5rem; padding: .5rem .9rem; background: var(--card); border: 2px solid var(--warn); border-radius: .6rem; }
@media (min-width: 30.01rem) and (min-height: 50rem) { .news { position: sticky; bottom: 0; max-height: 9rem; overflow: auto; } html:has(.news) { scroll-padding-bottom: 10rem; } }
nav.own { border-top: 1px solid var(--line); margin-top: 1.75rem; padding-top: 1rem; display: flex; flex-wrap: wrap; gap: 0 1.25rem; align-items: center; font-size: .95rem; } nav.own a, nav.own button { display: inline-flex; align-items: center; min-height: 2.75rem; } nav.own button { padding: 0; border: 0; font-weight: 400; text-decoration: underline; } nav.own [aria-current] { font-weight: 600; text-decoration: none; }
a { color: var(--accent); }
button.main { background: var(--accent); color: var(--on-accent); border-color: transparent; }
.done { border: 1px solid var(--accent); border-radius: .4rem; padding: .5rem .75rem; } .problem { color: var(--bad); font-weight: 600; } code { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
dl { margin: .75rem 0; display: grid; grid-template-columns: auto 1fr; gap: .3rem 1rem; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
ul { margin: .25rem 0; padding-left: 1.2rem; } ul.plain { list-style: none; padding: 0; margin: 0; }
.top { display: flex; gap: 1rem; align-items: baseline; justify-content: space-between; } .who { font-weight: 600; }
section.card { border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; margin-top: 1rem; } section.card h2 { margin: 0; overflow-wrap: anywhere; } section.card > p { margin: .15rem 0 0; } section.card dl { grid-template-columns: 8rem 1fr; } dd dl, section.card dd dl { grid-template-columns: auto 1fr; margin: 0; } dd li + li { margin-top: .3rem; }
.tag { white-space: nowrap; font-size: .75rem; font-weight: 500; border: 1px solid var(--line); border-radius: 1rem; padding: .05rem .5rem; vertical-align: middle; }
.empty { padding: 1rem; border: 1px dashed var(--line); border-radius: .6rem; text-align: center; }
button.bad { color: var(--bad); border-color: currentColor; } .unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
details { margin-top: 1.5rem; border-top: 1px solid var(--line); padding-top: 1rem; } summary { font-weight: 650; cursor: pointer; min-height: 2.75rem; align-content: center; } details.inner { margin-top: 1rem; } details.inner > summary { font-weight: 500; } details.exact { margin: 0; border: 0; padding: 0; }
label.light { font-weight: 400; } textarea { font: inherit; font-weight: 400; font-family: ui-monospace, monospace; font-size: .9rem; width: 100%; padding: .55rem .7rem; margin-top: .25rem; border: 1px solid var(--line); border-radius: .4rem; background: var(--ground); color: inherit; resize: vertical; }
input[type=checkbox] { width: 1.05rem; height: 1.05rem; flex: none; accent-color: var(--accent); align-self: center; }
.kicker { margin: 0 0 .35rem; font-size: .85rem; font-weight: 600; color: var(--accent); } h1 { overflow-wrap: anywhere; }
.docs { list-style: none; margin: .5rem 0 0; padding: 0; border: 1px solid var(--line); border-radius: .6rem; overflow: hidden; } .docs > * { padding: .7rem .9rem; overflow-wrap: anywhere; } .docs > * + * { border-top: 1px solid var(--line); } .docs > label.line { align-items: center; padding: .7rem .9rem; cursor: pointer; }
.tag.warn { color: var(--warn); border-color: currentColor; font-weight: 600; } .warnbox { color: var(--warn); margin: .5rem 0; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 24rem; overflow: auto; border: 1px solid var(--line); border-radius: .5rem; padding: .5rem; margin: .4rem 0; }
.words { margin: 1.25rem 0; padding: .75rem .9rem; background: var(--tint); border-radius: .6rem; overflow: hidden; } .words figcaption { font-size: .85rem; color: var(--soft); } .words blockquote { margin: .35rem 0 0; padding-left: .75rem; border-left: 3px solid var(--line); overflow-wrap: anywhere; } .words blockquote p { margin: 0; }
.asked { margin: .75rem 0 0; padding: .6rem .9rem; border: 1px solid var(--accent); border-radius: .6rem; overflow-wrap: anywhere; }
.choice { border: 1px solid var(--line); border-radius: .6rem; padding: .25rem .9rem; margin-top: .5rem; } .choice:has(input:checked) { border-color: var(--accent); } .choice .more { padding: 0 0 .7rem 1.65rem; } .choice:not(:has(input:checked)) .more { display: none; } .choice select { width: 100%; } .choice label.line { cursor: pointer; }
.ways-on { margin-top: 1.25rem; } .ways-on > details { margin: 0; padding: 0; } .ways-on > details > summary { padding-block: .6rem; } .ways-on > details[open] { padding-bottom: 1rem; } .ways-on > details > form > button { margin-top: .5rem; } .count { display: inline-block; min-width: 1.3rem; margin-left: .35rem; padding: 0 .35rem; border-radius: 1rem; background: var(--accent); color: var(--on-accent); font-size: .8rem; text-align: center; }
input[type=radio], input[type=checkbox] { margin: 0; } input[type=radio] { width: 1.05rem; height: 1.05rem; flex: none; accent-color: var(--accent); align-self: center; } a.button { display: block; text-align: center; text-decoration: none; font-weight: 600; padding: .75rem 1.1rem; border-radius: .4rem; background: var(--accent); color: var(--on-accent); }
dl.facts { margin-top: 1.75rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: .9rem; } section.card a.whole { text-decoration: none; }
${wakes}
@media (max-width: 30rem) { header { margin-top: 1rem; padding: 0 1rem; } main { border-radius: 0; border-width: 1px 0; margin: .75rem 0 0; padding: 1.25rem 1rem 2rem; } section.card dl { display: block; } section.card dd { margin-bottom: .5rem; } section.card button, .buttons button { width: 100%; padding-block: .75rem; } label.line { padding: .5rem 0; } }`

const styleDigest = `sha256-${createHash('sha256').update(style).digest('base64')}`
