import { setTimeout as sleep } from 'node:timers/promises'
import type { Page } from 'playwright-core'

/** CSS pixels: what is still to be readable without scrolling sideways (WCAG 2.2, 1.4.10), and a phone. */
const widths = [320, 390]

/**
 * By how much a page is wider than a small screen, for each that it is too wide for. Leaves it as wide as it
 * was.
 */
export async function sideways(page: Page): Promise<readonly string[]> {
  const before = page.viewportSize()
  const found: string[] = []
  for (const width of widths) {
    await page.setViewportSize({ width, height: 844 })
    const wider = await settled(page)
    if (wider > 0) found.push(`${wider} px wider than ${width}`)
  }
  if (before !== null) await page.setViewportSize(before)
  return found
}

/** A chart takes a frame or two to be drawn anew. */
async function settled(page: Page, tries = 20): Promise<number> {
  const wider = await page.evaluate<number>('document.documentElement.scrollWidth - innerWidth')
  if (wider <= 0 || tries === 0) return wider
  await sleep(50)
  return settled(page, tries - 1)
}
