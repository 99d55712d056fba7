// A certified OpenID Connect provider on 127.0.0.1, in memory: `node server.mjs FOLDER`, where FOLDER holds
// node_modules. It prints its issuer in one line, and ends with its standard input.
//
// POST /test/options changes what it does from now on (see `options`); `{"rotate": true}` replaces its keys.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';

const log = console.info;
console.info = console.warn = () => {}; // it warns of what is fine in a test
const { default: Provider } = await import(
  pathToFileURL(`${process.argv[2]}/node_modules/oidc-provider/lib/index.js`)
);

const AUDIENCE = 'tracker-api';

const options = {
  redirect_uri: 'http://127.0.0.1/login/callback',
  id_token_alg: 'RS256',
};

function newKeys() {
  const pairs = [
    ['RS256', generateKeyPairSync('rsa', { modulusLength: 2048 })],
    ['ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' })],
    ['EdDSA', generateKeyPairSync('ed25519')],
  ];
  return pairs.map(([alg, { privateKey }]) => ({
    ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: randomUUID(),
  }));
}

function newProvider(issuer, keys) {
  return new Provider(issuer, {
    clients: [{
      client_id: 'tracker',
      client_secret: 'a secret of the tests: +/%25',
      redirect_uris: [options.redirect_uri],
      response_types: ['code'],
      grant_types: ['authorization_code', 'client_credentials'],
      id_token_signed_response_alg: options.id_token_alg,
    }],
    jwks: { keys },
    cookies: { keys: ['a key of the tests'] },
    pkce: { required: () => true },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        // The last part of the resource's name says how its tokens are signed.
        getResourceServerInfo: (ctx, resource) => ({
          scope: 'api',
          audience: AUDIENCE,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: resource.split(':').pop() } },
        }),
      },
    },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    // Nobody is asked whether Tracker may know who they are.
    async loadExistingGrant(ctx) {
      const { client, session } = ctx.oidc;
      const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope('openid');
      await grant.save();
      return grant;
    },
  });
}

async function answerForm(provider, request, response) {
  if (request.method === 'GET') {
    response.setHeader('Content-Type', 'text/html');
    response.end('<form method="post"><input name="login"><button>Log in</button></form>');
    return;
  }
  const login = new URLSearchParams(await text(request)).get('login');
  const result = login
    ? { login: { accountId: login } }
    : { error: 'access_denied', error_description: 'nobody wants to log in' };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

const server = createServer();
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;
let keys = newKeys();
let provider = newProvider(issuer, keys);

server.on('request', async (request, response) => {
  try {
    if (request.url === '/test/options') {
      const { rotate, ...changed } = JSON.parse(await text(request));
      Object.assign(options, changed);
      if (rotate) keys = newKeys();
      provider = newProvider(issuer, keys);
      response.statusCode = 204;
      response.end();
    } else if (request.url.startsWith('/interaction/')) {
      await answerForm(provider, request, response);
    } else {
      await provider.callback()(request, response);
    }
  } catch (error) {
    console.error(error);
    response.statusCode = 500;
    response.end();
  }
});

process.stdin.resume();
process.stdin.on('end', () => process.exit());
log(issuer);
