/** A person's browser, as far as the authorization server's pages need one: cookies, redirects, forms. */
export interface Browser {
  /** Name → what it holds now. A test may steal one, or plant one. */
  readonly cookies: Map<string, Cookie>
  /** Opens a page, following redirects on our own host. Stops at one that leads elsewhere. */
  open(url: string): Promise<Page>
  /** Sends the page's form whose action ends with `action`, with these fields over its own. */
  submit(
    page: Page,
    action: string,
    fields?: Readonly<Record<string, string | readonly string[]>>,
  ): Promise<Page>
}

export interface Page {
  /** Where the browser is, or is sent to when that is elsewhere. */
  readonly url: URL
  readonly status: number
  readonly text: string
  readonly headers: Headers
}

export interface Cookie {
  readonly value: string
  readonly path: string
}

export function openBrowser(base: string): Browser {
  const origin = new URL(base).origin
  const cookies = new Map<string, Cookie>()

  async function go(url: URL, init: RequestInit = {}, hops = 0): Promise<Page> {
    const sent = [...cookies].filter(([, { path }]) => url.pathname.startsWith(path))
    const response = await fetch(url, {
      ...init,
      redirect: 'manual',
      headers: {
        accept: 'text/html',
        cookie: sent.map(([name, { value }]) => `${name}=${value}`).join('; '),
        ...(init.headers as Record<string, string>),
      },
    })
    for (const line of response.headers.getSetCookie()) keep(cookies, line)
    const location = response.headers.get('location')
    const text = await response.text()
    if (location === null) return { url, status: response.status, text, headers: response.headers }
    const next = new URL(location, url)
    if (next.origin !== origin || hops > 9)
      return { url: next, status: response.status, text, headers: response.headers }
    return go(next, {}, hops + 1)
  }

  return {
    cookies,
    open: (url) => go(new URL(url)),
    async submit(page, action, fields = {}) {
      const form = formOf(page, action)
      const body = new URLSearchParams(form.hidden)
      for (const [name, value] of Object.entries(fields)) {
        body.delete(name)
        for (const one of [value].flat()) body.append(name, String(one))
      }
      return go(new URL(form.action, page.url), {
        method: 'POST',
        body,
        headers: { origin, 'content-type': 'application/x-www-form-urlencoded' },
      })
    },
  }
}

function keep(cookies: Map<string, Cookie>, line: string): void {
  const [pair = '', ...attributes] = line.split(';').map((part) => part.trim())
  const [name = '', value = ''] = pair.split(/=(.*)/s)
  const path = attributes.find((one) => /^path=/i.test(one))?.slice(5) ?? '/'
  if (value === '' || attributes.some((one) => /^expires=Thu, 01 Jan 1970/i.test(one))) cookies.delete(name)
  else cookies.set(name, { value, path })
}

function formOf({ text }: Page, action: string) {
  for (const [whole = '', found = ''] of text.matchAll(/<form[^>]*action="([^"]*)"[^>]*>[\s\S]*?<\/form>/g)) {
    if (!found.endsWith(action)) continue
    const hidden = [...whole.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)]
    return {
      action: found,
      hidden: hidden.map(([, name = '', value = '']): [string, string] => [name, value]),
    }
  }
  throw new Error(`There is no form to ${action}:\n${text}`)
}
