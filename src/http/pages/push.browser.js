// Being told in this browser: asks it for a subscription, and our service to use it. Without this script, or in a browser
// that has no such thing, the section says so and everything else works.

const section = document.querySelector('[data-push]')
const part = (name) => section.querySelector(`[data-push-${name}]`)
const say = (text) => {
  part('status').textContent = text
}

if (section !== null) void begin()

async function begin() {
  if (!('serviceWorker' in navigator && 'PushManager' in window && 'Notification' in window)) {
    // On an iPhone or iPad there is one only once the page is on the home screen.
    part(navigator.standalone === false ? 'home' : 'never').hidden = false
    return
  }
  part('on').addEventListener('click', () => void doing(start))
  part('off').addEventListener('click', () => void doing(stop))
  show((await ours().catch(() => undefined))?.told === true)
}

/** The subscription of this browser, and whether it is this person's: somebody else's is not taken over unasked. */
async function ours() {
  const registration = await navigator.serviceWorker.getRegistration('/approvals')
  const subscription = await registration?.pushManager.getSubscription()
  if (!subscription) return undefined
  const { told } = await send('/approvals/push/seen', { endpoint: subscription.endpoint })
  return { subscription, told }
}

async function start() {
  if ((await Notification.requestPermission()) !== 'granted')
    return say('Your browser does not allow it. You can change that in its settings for this site.')
  await navigator.serviceWorker.register('/approvals/sw.js', { scope: '/approvals' })
  const { pushManager } = await navigator.serviceWorker.ready
  // One that was made for another key can never be used again.
  await (await pushManager.getSubscription())?.unsubscribe()
  const subscription = await pushManager.subscribe({
    userVisibleOnly: true,
    applicationServerKey: section.dataset.push,
  })
  await send('/approvals/push', subscription.toJSON())
  show(true)
  return say('You will be told on this device.')
}

async function stop() {
  const mine = await ours()
  if (mine !== undefined) {
    await send('/approvals/push/end', { endpoint: mine.subscription.endpoint })
    await mine.subscription.unsubscribe()
  }
  show(false)
  return say('You will not be told on this device any more.')
}

function show(told) {
  part('on').hidden = told
  part('off').hidden = !told
}

async function doing(work) {
  const buttons = [part('on'), part('off')]
  for (const button of buttons) button.disabled = true
  say('')
  try {
    await work()
  } catch (error) {
    if (error?.status === 401) location.assign('/sign-in?next=%2Fapprovals')
    else say('That did not work. Nothing was changed here.')
  }
  for (const button of buttons) button.disabled = false
  // The one that was pressed may be gone: whoever uses a keyboard goes on from the other.
  buttons.find(({ hidden }) => !hidden)?.focus()
}

async function send(path, body) {
  const response = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-csrf-token': section.dataset.csrf },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw Object.assign(new Error(path), { status: response.status })
  return response.json()
}
