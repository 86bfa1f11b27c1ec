// The worker of /approvals: shows that there is something to look at, and opens the page. It keeps nothing, asks for nothing and
// stands before no request: what the page shows is never stored. What a message holds is not read, so that nobody who
// could send one could put words into it.

const page = '/approvals'

// A new one takes over at once: there is nothing that an old one could be in the middle of.
self.addEventListener('install', () => self.skipWaiting())
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()))

self.addEventListener('push', (event) => {
  event.waitUntil(
    self.registration.showNotification('Remit: look at this', {
      body: 'Somebody asks for your answer, or something of your account has changed.',
      icon: '/approvals/icon-192.png',
      // One, however many are asked; each one is heard.
      tag: 'approvals',
      renotify: true,
    }),
  )
})

self.addEventListener('notificationclick', (event) => {
  event.notification.close()
  event.waitUntil(show())
})

/** The page that is open already is looked at anew; else it is opened. */
async function show() {
  const windows = await self.clients.matchAll({ type: 'window', includeUncontrolled: true })
  const open = windows.find(({ url }) => new URL(url).pathname === page)
  if (open === undefined) return self.clients.openWindow(page)
  await open.focus()
  return open.navigate(page).catch(() => undefined)
}
