import { type BrowserContext, type CDPSession, chromium, type Page } from 'playwright-core'
import { native } from './native.ts'

/** A real browser with a profile of its own. */
export interface Chromium extends AsyncDisposable {
  readonly context: BrowserContext
  readonly page: Page
  /**
   * Puts a device with passkeys into the page's machine: a platform authenticator that keeps what it makes.
   */
  addDevice(options?: { readonly verifiesUser?: boolean }): Promise<Device>
}

export interface Device {
  /** Credentials on it, with their counters. */
  credentials(): Promise<readonly { readonly credentialId: string; readonly signCount: number }[]>
}

export interface ChromiumOptions {
  /** Default true. */
  readonly script?: boolean
  /** CSS pixels. Default 1280 × 800. */
  readonly width?: number
  readonly height?: number
}

export async function openChromium(options: ChromiumOptions = {}): Promise<Chromium> {
  if (native.chromium === undefined) throw new Error('This test needs Chromium (CHROMIUM_PATH).')
  const browser = await chromium.launch({ executablePath: native.chromium, args: ['--disable-gpu'] })
  const { script = true, width = 1280, height = 800 } = options
  const context = await browser.newContext({ javaScriptEnabled: script, viewport: { width, height } })
  context.setDefaultTimeout(20_000)
  const page = await context.newPage()
  restHand(await context.newCDPSession(page), page)
  return {
    context,
    page,
    addDevice: async ({ verifiesUser = true } = {}) =>
      addDevice(await context.newCDPSession(page), verifiesUser),
    [Symbol.asyncDispose]: () => browser.close(),
  }
}

/**
 * Somebody's hand is on the mouse, over each page that comes up: what agrees wakes only then, and Playwright
 * looks before it moves.
 */
function restHand(session: CDPSession, page: Page): void {
  page.on('domcontentloaded', () => {
    // Not by Playwright's own mouse, which may be on its way to a click.
    const move = { type: 'mouseMoved', x: 1, y: 1 } as const
    session.send('Input.dispatchMouseEvent', move).catch(() => undefined)
  })
}

async function addDevice(session: CDPSession, verifiesUser: boolean): Promise<Device> {
  await session.send('WebAuthn.enable')
  const { authenticatorId } = await session.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: verifiesUser,
      automaticPresenceSimulation: true,
    },
  })
  return {
    credentials: async () => (await session.send('WebAuthn.getCredentials', { authenticatorId })).credentials,
  }
}
